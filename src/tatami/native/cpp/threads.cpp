// The thread pool: every thread has a share of the numbers, the same ones whenever as many are shared out, and takes them grain by
// grain; then it helps the others with theirs. So an image's activations or a tile of weights are mostly met again by the
// processor whose cache has them, and a thread that is held up keeps nobody waiting. See threads.hpp for what may depend on that.
//
// Workers spin for some microseconds after a job, because the next one of a training step comes at once, then yield, then
// sleep. A forked child gets a pool of its own.
#include "threads.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <system_error>
#include <thread>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace tatami {

namespace {

constexpr int most_threads = 256;
constexpr int spins = 2000;  // some ten microseconds of looking again at once
// Then others first, but awake: a processor without work is halted, and on a virtual machine waking it takes longer than a
// small network's whole layer. Between two training steps Python needs about a tenth of this; after it a thread sleeps.
constexpr std::chrono::microseconds patience{1000};

void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

// Alone in its cache lines: its owner counts in it undisturbed until others come to help.
struct alignas(128) Share {
    std::atomic<std::int64_t> next{0};
    std::int64_t end = 0;
};

struct Job {
    Body body = nullptr;
    const void* context = nullptr;
    std::int64_t grain = 1;
    int threads = 0;
    Share shares[most_threads];
};

class Pool {
public:
    void run(int threads, std::int64_t count, std::int64_t grain, Body body, const void* context) {
        grow(threads - 1);
        job_.body = body;
        job_.context = context;
        job_.grain = grain;
        job_.threads = threads;
        const std::int64_t grains = (count + grain - 1) / grain;
        for (int share = 0; share < threads; ++share) {
            job_.shares[share].next.store(grains * share / threads * grain, std::memory_order_relaxed);
            job_.shares[share].end = std::min(count, grains * (share + 1) / threads * grain);
        }
        open_.store(true);
        generation_.fetch_add(1);
        generation_.notify_all();
        work(0);
        // Whoever entered before this is waited for; whoever comes later finds the door closed.
        open_.store(false);
        for (int tries = 0; active_.load() != 0; ++tries)
            if (tries < spins)
                relax();
            else
                std::this_thread::yield();
    }

    std::mutex busy;

private:
    void work(int thread) {
        const std::int64_t grain = job_.grain;
        for (int turn = 0; turn < job_.threads; ++turn) {
            Share& share = job_.shares[(thread + turn) % job_.threads];
            while (share.next.load(std::memory_order_relaxed) < share.end) {
                const std::int64_t begin = share.next.fetch_add(grain, std::memory_order_relaxed);
                const std::int64_t end = std::min(share.end, begin + grain);
                for (std::int64_t i = begin; i < end; ++i) job_.body(job_.context, i, thread);
            }
        }
    }

    void grow(int workers) {
        try {
            for (; workers_ < workers; ++workers_)
                std::thread([this, thread = workers_ + 1, seen = generation_.load()] { serve(thread, seen); }).detach();
        } catch (const std::system_error&) {  // the system gives no more threads: the ones there are do the work
        }
    }

    void serve(int thread, std::uint32_t seen) {
        while (true) {
            std::uint32_t now = generation_.load();
            std::chrono::steady_clock::time_point end;
            for (int tries = 0; now == seen; now = generation_.load(), ++tries) {
                if (tries < spins) {
                    relax();
                    continue;
                }
                const auto time = std::chrono::steady_clock::now();
                if (tries == spins) end = time + patience;
                if (time < end)
                    std::this_thread::yield();
                else
                    generation_.wait(seen);
            }
            seen = now;
            active_.fetch_add(1);
            if (open_.load() && thread < job_.threads) work(thread);
            active_.fetch_sub(1);
        }
    }

    Job job_;
    std::atomic<std::uint32_t> generation_{0};
    std::atomic<bool> open_{false};
    std::atomic<int> active_{0};
    int workers_ = 0;
};

// Never destroyed: its threads may outlive main. A forked child inherits the memory but not the threads, and makes a new one.
Pool& pool() {
    static std::mutex guard;
    static Pool* current = nullptr;
    const std::lock_guard lock(guard);
#if defined(__unix__) || defined(__APPLE__)
    static pid_t owner = 0;
    if (owner != getpid()) {
        owner = getpid();
        current = nullptr;
    }
#endif
    if (current == nullptr) current = new Pool;
    return *current;
}

}  // namespace

int threads_to_use(int wanted) {
#if defined(_OPENMP)
    const int automatic = omp_get_max_threads();
#else
    const int automatic = static_cast<int>(std::thread::hardware_concurrency());
#endif
    return std::clamp(wanted > 0 ? wanted : automatic, 1, most_threads);
}

void run_in_parallel(int threads, std::int64_t count, std::int64_t grain, Body body, const void* context) {
    if (threads > 1 && count > grain) {
        Pool& shared = pool();
        const std::unique_lock lock(shared.busy, std::try_to_lock);
        if (lock.owns_lock()) {
            shared.run(threads, count, grain, body, context);
            return;
        }
    }
    for (std::int64_t i = 0; i < count; ++i) body(context, i, 0);
}

}  // namespace tatami
