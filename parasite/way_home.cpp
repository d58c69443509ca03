#include "parasite/way_home.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "kernel/error.h"
#include "kernel/remote.h"

namespace godwit {

namespace {

constexpr uint64_t kRedZone = 128;
constexpr uint64_t kVectorAlignment = 64;

void* pointer(uint64_t address) {
  return reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr): an address elsewhere
}

}  // namespace

bool WayHome::find_place(const ThreadContext& before, const std::vector<procfs::Map>& maps,
                         size_t vector_bytes) {
  const uint64_t top = before.general.rsp;
  const auto stack = std::find_if(maps.begin(), maps.end(), [&](const procfs::Map& map) {
    return map.start <= top && top < map.end && map.path == "[stack]" && (map.prot & PROT_WRITE) != 0;
  });
  const size_t frames = 2 * (head_bytes() + kSignalContextBytes);
  if (stack == maps.end() || top - stack->start < kRedZone + 2 * kVectorAlignment + vector_bytes + frames) {
    return false;
  }
  vectors_ = (top - kRedZone - vector_bytes) & ~(kVectorAlignment - 1);
  stack_ = (vectors_ - frames) & ~uint64_t{15};
  was_there_.resize(vectors_ + vector_bytes - stack_);
  return true;
}

/// The stack's bytes; and whether the code is what it should be, all by one system call.
bool WayHome::read_what_is_there() {
  std::array<std::byte, OwnCodeFinder::kCallBytes> call{};
  std::array<std::byte, OwnCodeFinder::kRestorerBytes> restorer{};
  const std::array<iovec, 3> local{iovec{was_there_.data(), was_there_.size()},
                                   iovec{call.data(), call.size()}, iovec{restorer.data(), restorer.size()}};
  const std::array<iovec, 3> remote{iovec{pointer(stack_), was_there_.size()},
                                    iovec{pointer(code_.call), call.size()},
                                    iovec{pointer(code_.restorer), restorer.size()}};
  const ssize_t got = ::process_vm_readv(pid_, local.data(), local.size(), remote.data(), remote.size(), 0);
  return got == static_cast<ssize_t>(was_there_.size() + call.size() + restorer.size()) &&
         OwnCodeFinder::matches(code_, call, restorer);
}

void WayHome::write(const ThreadContext& before, std::span<const std::byte> vectors, uint64_t address,
                    size_t bytes) {
  std::vector<std::byte> out(was_there_.size());
  const auto at = [&](uint64_t place) { return out.data() + (place - stack_); };
  const auto context_at = [&](uint64_t place) {
    return std::span<std::byte, kSignalContextBytes>(at(place), kSignalContextBytes);
  };
  ThreadContext unmap = before;
  unmap.blocked = ~uint64_t{0};
  unmap.general.orig_rax = ~0ULL;
  unmap.general.rax = SYS_munmap;
  unmap.general.rdi = address;
  unmap.general.rsi = bytes;
  unmap.general.rip = code_.call;
  unmap.general.rsp = stack_to_resume();
  write_signal_context(context_at(unmap_frame()), unmap, vectors_);
  write_signal_context(context_at(resume_frame()), before, vectors_);
  for (const uint64_t frame : {unmap_frame(), resume_frame()}) {
    std::memcpy(at(frame - sizeof code_.restorer), &code_.restorer, sizeof code_.restorer);
  }
  std::copy(vectors.begin(), vectors.end(), at(vectors_));
  RemoteMemory(pid_).write(stack_, out);
}

std::optional<WayHome> WayHome::lay(pid_t pid, const ThreadContext& before,
                                    const std::vector<procfs::Map>& maps, OwnCodeFinder& finder,
                                    uint64_t address, size_t bytes) {
  const std::optional<OwnCode> code = finder.find(pid, maps);
  if (!code) {
    return std::nullopt;
  }
  WayHome way(pid, *code);
  const std::vector<std::byte> vectors = vector_state(before.tid);
  if (!way.find_place(before, maps, vectors.size()) || !way.read_what_is_there()) {
    return std::nullopt;
  }
  way.write(before, vectors, address, bytes);
  return way;
}

void WayHome::take_up() const {
  RemoteMemory(pid_).write(stack_, was_there_);
}

}  // namespace godwit
