#include "restore/signal_owner.h"

#include <fcntl.h>
#include <sys/syscall.h>

namespace godwit {

void emit_signal_owner(ScriptBuilder& script, const image::OpenFile& file, int descriptor) {
  const image::SignalOwner& owner = file.owner();
  if (owner.pid() != 0) {
    // The kernel remembers the ids of who asks, and sends no signal that they couldn't send.
    const bool other = owner.uid() != 0 || owner.euid() != 0;
    if (other) {
      script.call("become its owner's user", SYS_setresuid, {owner.uid(), owner.euid(), 0});
    }
    const f_owner_ex who{static_cast<__pid_type>(owner.type()), owner.pid()};
    script.call("set its owner", SYS_fcntl, {descriptor, F_SETOWN_EX, script.object(who)});
    if (other) {
      script.call("become root again", SYS_setresuid, {0, 0, 0});
    }
  }
  if (owner.signal() != 0) {
    script.call("set its signal", SYS_fcntl, {descriptor, F_SETSIG, owner.signal()});
  }
  if (owner.async()) {
    script.call("ask for its signals", SYS_fcntl, {descriptor, F_SETFL, file.flags() | O_ASYNC});
  }
}

}  // namespace godwit
