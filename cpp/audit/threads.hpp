// Work shared out to threads that round downward; `body(i, worker)` for i in [0, count), in any order.
#pragma once

#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "audit/rounding.hpp"

namespace pydual::audit {

// The first exception ends the work and is thrown again here.
template <class Body>
void share_out(int count, int threads, const Body& body) {
    std::atomic<int> next{0};
    std::exception_ptr failure;
    std::mutex guard;
    const auto work = [&](int worker) {
        const Downward mode;
        try {
            for (int i = next++; i < count; i = next++) body(i, worker);
        } catch (...) {
            next = count;
            const std::lock_guard<std::mutex> lock(guard);
            if (!failure) failure = std::current_exception();
        }
    };
    std::vector<std::thread> pool;
    try {
        for (int worker = 1; worker < threads && worker < count; ++worker) pool.emplace_back(work, worker);
    } catch (const std::system_error&) {  // no further threads are to be had: those that run share the work
    }
    work(0);
    for (std::thread& thread : pool) thread.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace pydual::audit
