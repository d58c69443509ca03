#include "parasite/script_builder.h"

#include <sys/syscall.h>

#include <algorithm>
#include <bit>
#include <cassert>

namespace godwit {

using script::Op;

namespace {

constexpr uint32_t kNoSubject = UINT32_MAX;

size_t aligned(size_t size) {
  return (size + 7) & ~size_t{7};
}

}  // namespace

ScriptBuilder::ScriptBuilder(uint64_t base) : base_(base), data_(aligned(sizeof(script::Script))) {}

uint64_t ScriptBuilder::reserve(size_t size) {
  const size_t offset = data_.size();
  data_.resize(offset + aligned(size));
  return base_ + offset;
}

uint64_t ScriptBuilder::bytes(std::span<const std::byte> data) {
  const uint64_t address = reserve(data.size());
  std::copy(data.begin(), data.end(), data_.begin() + static_cast<ptrdiff_t>(address - base_));
  return address;
}

uint64_t ScriptBuilder::string(std::string_view text) {
  const uint64_t address = reserve(text.size() + 1);
  std::memcpy(data_.data() + (address - base_), text.data(), text.size());
  return address;
}

void ScriptBuilder::subject(std::function<std::string()> text) {
  subjects_.push_back(std::move(text));
}

Op& ScriptBuilder::add(script::OpKind kind, const char* doing) {
  Op& op = ops_.emplace_back();
  op.kind = kind;
  op.result_slot = script::NO_SLOT;
  op.label = static_cast<uint32_t>(ops_.size() - 1);
  doing_.push_back(doing);
  subject_of_.push_back(subjects_.empty() ? kNoSubject : static_cast<uint32_t>(subjects_.size() - 1));
  return op;
}

void ScriptBuilder::set_arguments(Op& op, std::initializer_list<Arg> args) {
  assert(args.size() <= 6);
  size_t i = 0;
  for (const Arg& arg : args) {
    op.args[i] = arg.value;
    if (arg.is_slot) {
      op.slot_arguments = static_cast<uint8_t>(op.slot_arguments | 1U << i);
    }
    ++i;
  }
}

OpIndex ScriptBuilder::call(const char* doing, long number, std::initializer_list<Arg> args) {
  Op& op = add(script::OP_SYSCALL, doing);
  op.number = static_cast<uint32_t>(number);
  set_arguments(op, args);
  return {op.label};
}

Slot ScriptBuilder::call_to_slot(const char* doing, long number, std::initializer_list<Arg> args) {
  const Slot slot = acquire();
  ops_[call(doing, number, args).value].result_slot = slot.index;
  return slot;
}

OpIndex ScriptBuilder::call_may_fail(long number, std::initializer_list<Arg> args) {
  const OpIndex index = call("", number, args);
  ops_[index.value].flags = script::OP_MAY_FAIL;
  return index;
}

OpIndex ScriptBuilder::call_may_fail_with(const char* doing, int error, long number,
                                          std::initializer_list<Arg> args) {
  const OpIndex index = call(doing, number, args);
  ops_[index.value].flags = script::OP_MAY_FAIL_WITH;
  ops_[index.value].expect = error;
  return index;
}

OpIndex ScriptBuilder::call_expecting(const char* doing, int32_t expected, long number,
                                      std::initializer_list<Arg> args) {
  const OpIndex index = call(doing, number, args);
  ops_[index.value].flags = script::OP_EXPECT_VALUE;
  ops_[index.value].expect = expected;
  return index;
}

void ScriptBuilder::place(const char* doing, Arg descriptor, int number, bool close_on_exec) {
  set_arguments(add(script::OP_PLACE, doing), {descriptor, number, close_on_exec ? 1 : 0});
}

OpIndex ScriptBuilder::clone(const char* doing, uint64_t clone_args, size_t size, uint64_t child_script) {
  Op& op = add(script::OP_CLONE, doing);
  set_arguments(op, {clone_args, size, child_script});
  return {op.label};
}

void ScriptBuilder::wait(uint64_t word, uint32_t at_least) {
  set_arguments(add(script::OP_WAIT, "wait"), {word, at_least});
}

void ScriptBuilder::post(uint64_t word, uint64_t events) {
  set_arguments(add(script::OP_POST, "post"), {word, 1, events});
}

void ScriptBuilder::store(uint64_t word, Arg value) {
  set_arguments(add(script::OP_STORE, "store"), {word, value});
}

Slot ScriptBuilder::load(uint64_t word) {
  const Slot slot = acquire();
  Op& op = add(script::OP_LOAD, "load");
  set_arguments(op, {word});
  op.result_slot = slot.index;
  return slot;
}

void ScriptBuilder::copy(uint64_t to, uint64_t from, size_t size) {
  set_arguments(add(script::OP_COPY, "copy"), {to, from, size});
}

void ScriptBuilder::pause(int signal) {
  const Slot process = call_to_slot("get its pid", SYS_getpid, {});
  const Slot thread = call_to_slot("get its thread id", SYS_gettid, {});
  call("pause", SYS_tgkill, {process, thread, signal});
  release(process);
  release(thread);
}

void ScriptBuilder::finish(const Leaving& leaving) {
  set_arguments(add(script::OP_FINISH, "finish"), {leaving.signal, leaving.frame, leaving.others,
                                                   leaving.frame_beside, leaving.start, leaving.end});
}

void ScriptBuilder::park(uint64_t word, uint64_t events) {
  set_arguments(add(script::OP_PARK, "park"), {word, 1, events});
}

Slot ScriptBuilder::acquire() {
  if (free_slots_ == 0) {
    throw error("a script needs more than {} slots at once", script::SLOTS);
  }
  const auto index = static_cast<uint8_t>(std::countr_zero(free_slots_));
  free_slots_ = static_cast<uint16_t>(free_slots_ & ~(1U << index));
  return {index};
}

void ScriptBuilder::release(Slot slot) {
  free_slots_ = static_cast<uint16_t>(free_slots_ | 1U << slot.index);
}

size_t ScriptBuilder::size() const {
  return data_.size() + ops_.size() * sizeof(Op);
}

void ScriptBuilder::write_to(std::span<std::byte> out, uint64_t events) const {
  assert(out.size() >= size());
  script::Script header{};
  header.ops = base_ + data_.size();
  header.count = static_cast<uint32_t>(ops_.size());
  header.events = events;
  std::copy(data_.begin(), data_.end(), out.begin());
  std::memcpy(out.data(), &header, sizeof header);
  // Not memcpy: an empty script has no address to copy from.
  const auto ops = std::as_bytes(std::span(ops_));
  std::copy(ops.begin(), ops.end(), out.begin() + static_cast<ptrdiff_t>(data_.size()));
}

void ScriptBuilder::load(std::span<const std::byte> ran) {
  std::copy_n(ran.begin(), data_.size(), data_.begin());
  const auto ops = std::as_writable_bytes(std::span(ops_));
  std::copy_n(ran.begin() + static_cast<ptrdiff_t>(data_.size()), ops.size(), ops.begin());
}

int64_t ScriptBuilder::result(OpIndex op) const {
  return ops_.at(op.value).result;
}

std::span<const std::byte> ScriptBuilder::data(uint64_t address, size_t size) const {
  return std::span(data_).subspan(address - base_, size);
}

void ScriptBuilder::check(const script::Script& header) const {
  if (header.state != script::SCRIPT_FAILED) {
    return;
  }
  // The header lies in memory that another process can write.
  const uint32_t current = header.current;
  const uint32_t at = std::min(current, static_cast<uint32_t>(ops_.size()) - 1);
  Error failure(fmt::format("cannot {}", doing_[at]), header.error);
  if (subject_of_[at] != kNoSubject) {
    failure.in(subjects_[subject_of_[at]]());
  }
  throw failure;
}

}  // namespace godwit
