#include "dump/maps_reader.h"

#include <sched.h>

#include <system_error>
#include <utility>

#include "kernel/blocked_signals.h"

namespace godwit {

MapsReader::~MapsReader() {
  stop_ = true;
  if (helper_.joinable()) {
    helper_.join();
  }
}

void MapsReader::start(const std::vector<FrozenTask>& tasks, bool may_help) {
  // A thread costs about as much as reading what two small tasks have.
  constexpr size_t kTasksWorthAHelper = 8;
  for (const FrozenTask& task : tasks) {
    if (!task.zombie()) {
      readings_.emplace_back().pid = task.pid();
    }
  }
  if (!may_help || readings_.size() < kTasksWorthAHelper) {
    return;
  }
  const BlockedSignals blocked;  // they are for the calling thread, which waits where they matter
  try {
    helper_ = std::thread([this] { read_from_the_end(); });
  } catch (const std::system_error&) {
    // No more threads can be had.
  }
}

void MapsReader::read_from_the_end() noexcept {
  for (size_t i = readings_.size(); i-- > 0 && !stop_;) {
    if (!read(readings_[i])) {
      return;
    }
  }
}

std::vector<procfs::Map> MapsReader::take(pid_t pid) {
  while (readings_.at(next_).pid != pid) {
    ++next_;
  }
  Reading& reading = readings_[next_++];
  if (!read(reading)) {
    while (!reading.done.load(std::memory_order_acquire)) {
      ::sched_yield();
    }
  }
  if (reading.failure) {
    std::rethrow_exception(reading.failure);
  }
  return std::move(reading.maps);
}

bool MapsReader::read(Reading& reading) noexcept {
  if (reading.begun.exchange(true)) {
    return false;
  }
  try {
    reading.maps = procfs::read_smaps(reading.pid);
  } catch (...) {
    reading.failure = std::current_exception();
  }
  reading.done.store(true, std::memory_order_release);
  return true;
}

}  // namespace godwit
