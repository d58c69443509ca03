#include "restore/signal_owner.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/error.h"

namespace godwit {

namespace {

/// The kernel remembers the ids of who sets an owner, and sends no signal that they couldn't send. While one
/// of these lives, this thread has another real and effective uid.
class BorrowedUser {
 public:
  BorrowedUser(uid_t uid, uid_t euid) {
    if (::getresuid(&real_, &effective_, &saved_) != 0) {
      throw errno_error("cannot ask for our own ids");
    }
    borrowed_ = uid != real_ || euid != effective_;
    // The saved one stays, which is what permits the way back.
    if (borrowed_ && ::syscall(SYS_setresuid, uid, euid, saved_) != 0) {
      throw errno_error("cannot become user {}", euid);
    }
  }
  BorrowedUser(const BorrowedUser&) = delete;
  BorrowedUser& operator=(const BorrowedUser&) = delete;
  ~BorrowedUser() {
    if (borrowed_) {
      ::syscall(SYS_setresuid, real_, effective_, saved_);
      ::prctl(PR_SET_DUMPABLE, 1);  // which the change has reset
    }
  }

 private:
  uid_t real_ = 0;
  uid_t effective_ = 0;
  uid_t saved_ = 0;
  bool borrowed_ = false;
};

}  // namespace

void emit_signal(ScriptBuilder& script, const image::OpenFile& file, int descriptor) {
  const image::SignalOwner& owner = file.owner();
  if (owner.signal() != 0) {
    script.call("set its signal", SYS_fcntl, {descriptor, F_SETSIG, owner.signal()});
  }
  if (owner.async()) {
    script.call("ask for its signals", SYS_fcntl, {descriptor, F_SETFL, file.flags() | O_ASYNC});
  }
}

void apply_signal_owner(const image::SignalOwner& owner, int descriptor,
                        const std::function<pid_t(pid_t)>& pid_now) {
  if (owner.pid() == 0) {
    return;
  }
  const f_owner_ex who{static_cast<__pid_type>(owner.type()), pid_now(owner.pid())};
  const BorrowedUser user(owner.uid(), owner.euid());
  if (::fcntl(descriptor, F_SETOWN_EX, &who) != 0) {
    throw errno_error("cannot set its owner, {},", owner.pid());
  }
}

}  // namespace godwit
