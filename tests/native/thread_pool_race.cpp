// A race check of the thread pool, for ThreadSanitizer: `make test-sanitize` builds and runs it.
//
// Several threads call the pool at once, with changing numbers of threads, pieces and grains. Every number must be visited
// exactly once, by plain (not atomic) writes that the caller then reads: whatever the pool does not order, ThreadSanitizer
// reports. A forked child must find a pool that works.
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "../../src/tatami/native/cpp/threads.hpp"

namespace {

void require(bool condition, const char* message) {
    if (condition) return;
    std::fprintf(stderr, "%s\n", message);
    std::_Exit(1);
}

void one_round(int round) {
    const int threads = 1 + round % 5;
    const std::int64_t count = 1 + round * 37 % 211, grain = 1 + round % 7;
    std::vector<int> visits(static_cast<std::size_t>(count));
    std::vector<std::int64_t> sums(static_cast<std::size_t>(threads) * 16);
    tatami::parallel_for(threads, count, grain, [&](std::int64_t i, int thread) {
        require(thread >= 0 && thread < threads, "a thread's number is out of range");
        ++visits[static_cast<std::size_t>(i)];
        sums[static_cast<std::size_t>(thread) * 16] += i;
    });
    for (int visit : visits) require(visit == 1, "a number was not visited exactly once");
    require(std::accumulate(sums.begin(), sums.end(), std::int64_t{0}) == count * (count - 1) / 2, "a sum is wrong");
}

void many_rounds(int caller) {
    for (int round = 0; round < 3000; ++round) one_round(round + caller * 17);
}

}  // namespace

int main() {
    many_rounds(0);
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 4; ++caller) callers.emplace_back(many_rounds, caller);
    for (std::thread& caller : callers) caller.join();
#if (defined(__unix__) || defined(__APPLE__)) && !defined(__SANITIZE_THREAD__)
    const pid_t child = fork();
    if (child == 0) {
        many_rounds(1);
        std::_Exit(0);
    }
    int status = 1;
    require(waitpid(child, &status, 0) == child && status == 0, "the pool does not work in a forked process");
#endif
    std::puts("the thread pool visits every number once");
    return 0;
}
