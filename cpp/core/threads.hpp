// One parallel primitive: like `for (int i = 0; i < count; ++i) body(i)`, in any order, on up to `threads` threads.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

namespace pydual {

template <class Body>
void parallel_for(int count, int threads, const Body& body) {
    if (threads <= 1 || count <= 1) {
        for (int i = 0; i < count; ++i) body(i);
        return;
    }
    std::atomic<int> next{0};
    auto work = [&] {
        for (int i = next++; i < count; i = next++) body(i);
    };
    std::vector<std::thread> pool;
    for (int t = 1; t < threads && t < count; ++t) pool.emplace_back(work);
    work();
    for (auto& thread : pool) thread.join();
}

}  // namespace pydual
