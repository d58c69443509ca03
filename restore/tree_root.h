#pragma once

#include "kernel/fd.h"

namespace godwit {

/// Where the paths of a tree begin that has mounts of its own; invalid descriptors: they are ours.
struct TreeRoot {
  Fd directory;  // O_PATH
  Fd mounts;     // its mount namespace, which so stays together whatever becomes of the processes in it
};

}  // namespace godwit
