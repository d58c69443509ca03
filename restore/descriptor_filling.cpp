#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "kernel/error.h"
#include "kernel/pidfd.h"
#include "restore/descriptor_state.h"
#include "restore/descriptors.h"

namespace godwit {

namespace {

using State = DescriptorPlan::State;

class Filling : public making::FillContext {
 public:
  Filling(const State& state, const std::function<pid_t(pid_t)>& pid_now)
      : state_(state), pid_now_(pid_now) {}

  [[nodiscard]] Fd descriptor(uint32_t open_file_id) const override {
    const Description& description = state_.descriptions.at(open_file_id);
    if (description.uses.empty()) {
      Fd copy(::fcntl(description.inherited, F_DUPFD_CLOEXEC, 0));
      if (!copy) {
        throw errno_error("cannot duplicate {}", state_.name(open_file_id));
      }
      return copy;
    }
    const Use& use = description.uses.front();
    const Fd task = open_pidfd(pid_now_(state_.tables[use.table].owner));
    return with_context([&] { return state_.name(open_file_id); },
                        [&] { return copy_descriptor(task.get(), use.fd); });
  }

  [[nodiscard]] pid_t pid_now(pid_t in_image) const override {
    try {
      return pid_now_(in_image);
    } catch (const Error&) {
      return 0;
    }
  }

 private:
  const State& state_;
  const std::function<pid_t(pid_t)>& pid_now_;
};

}  // namespace

void DescriptorPlan::fill(const std::function<pid_t(pid_t)>& pid_now) {
  State& state = *state_;
  const Filling context(state, pid_now);
  for (const Unit& unit : state.units) {
    if (unit.kind->fill != nullptr) {
      with_context([&] { return state.name(unit); }, [&] { unit.kind->fill(*unit.record, context); });
    }
  }
  for (auto& [id, description] : state.descriptions) {
    if (!description.uses.empty() || description.inherited < 0) {
      continue;
    }
    ::close(description.inherited);
    std::erase(state.made, description.inherited);
    description.inherited = -1;
  }
}

}  // namespace godwit
