// Work shared out over a few persistent threads.
//
// parallel_for(threads, count, grain, body) calls body(i, thread) once for every i below count; threads take `grain` numbers at
// a time. Which thread takes which numbers is in the end left to chance, so bodies must not depend on it: every number is a
// piece of work of its own, and `thread` only chooses scratch memory.
//
// Why not an OpenMP loop: its threads wait for each other by spinning, and on a machine that others use as well (a laptop, a
// shared server, a CI runner) the one that is waited for often does not run because the waiting ones occupy its processor; a
// training step was seen to take ten times as long. Here the caller waits only for threads that are in the middle of a
// piece, and everybody who waits soon yields, later sleeps. The *number* of threads is still OpenMP's, so OMP_NUM_THREADS
// and threadpoolctl have their usual effect.
#pragma once

#include <cstdint>

namespace tatami {

using Body = void (*)(const void* context, std::int64_t i, int thread);

// threads >= 1. Calls from several threads at once are safe; those that find the pool busy do all their work themselves.
void run_in_parallel(int threads, std::int64_t count, std::int64_t grain, Body body, const void* context);

template <typename Function>
void parallel_for(int threads, std::int64_t count, std::int64_t grain, const Function& function) {
    run_in_parallel(
        threads, count, grain,
        [](const void* context, std::int64_t i, int thread) { (*static_cast<const Function*>(context))(i, thread); },
        &function);
}

// `wanted`, or what OpenMP would use for 0.
int threads_to_use(int wanted);

}  // namespace tatami
