#pragma once

#include <string>

namespace godwit::runtimes {

struct RuncRestore {
  std::string root;            // runc's directory
  std::string name;            // of the container
  std::string images;          // the checkpoint
  std::string bundle;          // empty: where runc had it, if it still knows the container
  std::string console_socket;  // empty: none
  std::string pidfile;         // empty: none
  bool detach = false;
};

/// Has runc restore the container by our `criu`. What runc still knows of a container by that name which has
/// ended goes first, as after `runc delete`: runc makes the container anew. Unless `detach`, runc stays until
/// the container ends, and gets the signals that we get. Returns runc's exit code, which then is the
/// container's. Throws Error; then nothing of the container runs.
[[nodiscard]] int restore_runc_container(const RuncRestore& restore);

}  // namespace godwit::runtimes
