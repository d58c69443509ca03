#pragma once

#include <map>
#include <string>

#include "images-format/checkpoint_reader.h"
#include "images-format/mount.pb.h"
#include "restore/terminals.h"

namespace godwit {

/// What whoever asks for a restore says of mounts.
struct MountSettings {
  std::string root;                             // the directory that becomes the root; empty: where it was
  std::map<std::string, std::string> external;  // name in the image: path outside
  const Terminals* terminals = nullptr;         // to be made in devpts instances; null: there are none
};

/// Builds one mount namespace of an image, in this process, which is alone in a new one (a copy of that in
/// which paths outside are meant: CLONE_NEWNS) and in the pid, ipc and net namespaces that its mounts of
/// proc, mqueue and sysfs show. Changes this process's root to the new one. Throws Error; the namespace is
/// then of no use.
void build_mounts(const CheckpointImage& image, const image::MountNamespace& space,
                  const MountSettings& settings);

}  // namespace godwit
