#include "restore/region.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "kernel/error.h"
#include "kernel/procfs.h"
#include "parasite/engine/engine.h"
#include "parasite/parasite.h"

namespace godwit {

namespace {

constexpr uint64_t page_up(uint64_t value) {
  return (value + 4095) & ~uint64_t{4095};
}

void* pointer(uint64_t address) {
  return reinterpret_cast<void*>(
      address);  // NOLINT(performance-no-int-to-ptr): scripts hold addresses as numbers
}

std::vector<std::pair<uint64_t, uint64_t>> all_mappings(const Plan& plan) {
  std::vector<std::pair<uint64_t, uint64_t>> used;
  for (const auto& map : procfs::read_maps(getpid())) {
    used.emplace_back(map.start, map.end);
  }
  for (const PlannedNode& node : plan.nodes) {
    if (node.mm != nullptr) {
      for (const auto& mapping : node.mm->mappings()) {
        used.emplace_back(mapping.start(), mapping.end());
      }
    }
  }
  std::sort(used.begin(), used.end());
  return used;
}

}  // namespace

Region::Region(const Plan& plan, size_t vdso_bytes) : nodes_(plan.nodes.size()) {
  // Far more than scripts and stacks need: only what is used gets mapped.
  constexpr size_t kWanted = size_t{1} << 36;
  constexpr size_t kModest = size_t{1} << 30;
  const auto used = all_mappings(plan);
  try {
    start_ = free_range(used, kWanted);
    limit_ = start_ + kWanted;
  } catch (const Error&) {
    start_ = free_range(used, kModest);
    limit_ = start_ + kModest;
  }
  code_ = start_ + page_up(vdso_bytes);
  shared_ = code_ + page_up(engine_code().size());
  used_ = 64 + nodes_ * sizeof(NodeWords);
}

Region::~Region() {
  if (mapped_) {
    ::munmap(pointer(code_), end() - code_);
  }
}

uint64_t Region::word(int node, uint32_t NodeWords::*member) const {
  static const NodeWords model{};
  const auto offset = static_cast<uint64_t>(reinterpret_cast<const char*>(&(model.*member)) -
                                            reinterpret_cast<const char*>(&model));
  return shared_ + 64 + static_cast<uint64_t>(node) * sizeof(NodeWords) + offset;
}

uint64_t Region::events() const {
  return shared_;
}

size_t Region::append(ScriptBuilder script) {
  used_ = (script.base() + script.size() - shared_ + 63) & ~size_t{63};
  stacks_[script.base()] = shared_ + used_;
  used_ += kStackBytes;
  scripts_.push_back(std::move(script));
  return scripts_.size() - 1;
}

void Region::map_code() const {
  const size_t bytes = shared_ - code_;
  void* code = ::mmap(pointer(code_), bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (code == MAP_FAILED) {
    throw errno_error("cannot map the engine");
  }
  std::memcpy(code, engine_code().data(), engine_code().size());
  if (::mprotect(code, bytes, PROT_READ | PROT_EXEC) != 0) {
    throw errno_error("cannot make the engine executable");
  }
}

void Region::map(Sharing sharing) {
  shared_bytes_ = page_up(used_);
  if (end() > limit_) {
    throw error("the scripts of this restore need {} bytes", used_);
  }
  if (sharing == Sharing::ByDescriptor) {
    memory_ = Fd(::memfd_create("godwit", MFD_CLOEXEC));
    if (!memory_ || ::ftruncate(memory_.get(), static_cast<off_t>(shared_bytes_)) != 0) {
      throw errno_error("cannot make memory of {} bytes for scripts", shared_bytes_);
    }
  }
  map_code();
  mapped_ = true;
  void* shared = ::mmap(pointer(shared_), shared_bytes_, PROT_READ | PROT_WRITE,
                        MAP_SHARED | (memory_ ? 0 : MAP_ANONYMOUS) | MAP_POPULATE | MAP_FIXED_NOREPLACE,
                        memory_.get(), 0);
  if (shared == MAP_FAILED) {
    throw errno_error("cannot map {} bytes for scripts", shared_bytes_);
  }
  for (const ScriptBuilder& script : scripts_) {
    script.write_to({static_cast<std::byte*>(pointer(script.base())), script.size()}, events());
  }
}

void Region::enter(int descriptor, uint64_t end, uint64_t script, uint64_t stack,
                   const std::function<void()>& ready) const {
  map_code();
  if (::mmap(pointer(shared_), end - shared_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
             descriptor, 0) == MAP_FAILED) {
    throw errno_error("cannot map {} bytes for scripts", end - shared_);
  }
  ready();
  // The script throws away the stack on which we stand.
  asm volatile(
      "mov %0, %%rsp\n\t"
      "xor %%ebp, %%ebp\n\t"
      "call *%1\n\t"
      "ud2"
      :
      : "r"(stack), "r"(engine()), "D"(script)
      : "memory");
  __builtin_unreachable();
}

std::atomic_ref<uint32_t> Region::at(uint64_t address) const {
  return std::atomic_ref<uint32_t>(*static_cast<uint32_t*>(pointer(address)));
}

uint32_t Region::read(int node, uint32_t NodeWords::*member) const {
  return at(word(node, member)).load();
}

void Region::bump_events() {
  at(events()).fetch_add(1);
  ::syscall(SYS_futex, events(), FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

void Region::post(int node, uint32_t NodeWords::*member) {
  const uint64_t address = word(node, member);
  at(address).fetch_add(1);
  ::syscall(SYS_futex, address, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

uint32_t Region::wait_events(uint32_t seen) const {
  const timespec patience{0, 100'000'000};
  if (at(events()).load() == seen) {
    ::syscall(SYS_futex, events(), FUTEX_WAIT, seen, &patience, nullptr, 0);
  }
  return at(events()).load();
}

void Region::check() const {
  for (const ScriptBuilder& script : scripts_) {
    script::Script header;
    std::memcpy(&header, pointer(script.base()), sizeof header);
    script.check(header);
  }
}

void Region::run(size_t script) const {
  const uint64_t base = scripts_.at(script).base();
  reinterpret_cast<void (*)(script::Script*)>(pointer(engine()))(static_cast<script::Script*>(pointer(base)));
}

}  // namespace godwit
