#pragma once

#include "dump/keeper_protocol.h"
#include "kernel/fd.h"

/// Writes are tracked between the dumps of a tree, when no godwit runs. What the kernel tells of them hangs
/// on userfaultfds, and which checkpoint they relate to nobody knows but those dumps. A keeper is the small
/// process that holds both in the meantime: one for a tree, so that a dump of all its tasks is settled by one
/// message, and a hundred tasks don't cost a hundred processes.
///
/// It has a session of its own, no terminal, and none of its maker's descriptors; it does nothing by itself
/// but wait. It forgets a task when that ends, and ends with the last one. When it is killed, the kernel
/// lifts all protection, and the next dump is whole.
namespace godwit::keeper {

/// Starts a keeper for the tree of `root`, which holds nothing yet. This process must have no other threads.
/// Returns the socket of a
/// conversation with it (dump/keeper_protocol.h): unless that commits something, the keeper ends with it.
/// Throws Error.
[[nodiscard]] Fd start(const TaskIdentity& root);

}  // namespace godwit::keeper
