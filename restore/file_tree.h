#pragma once

#include <string>

#include "images-format/checkpoint_reader.h"
#include "images-format/mount.pb.h"

namespace godwit {

/// Makes all files of a new superblock again, those apart that have been removed. `root`: its root directory
/// (O_PATH or readable). Throws Error that names the file.
void make_files(int root, const image::Superblock& superblock, const CheckpointImage& image);

/// Makes again what has been removed, under a name in a directory. If it has other names, that is the root
/// directory of a superblock in which all others have been made. Throws Error.
void make_nameless(int directory, const image::Superblock& superblock, const image::FileTree& tree,
                   const std::string& name, const CheckpointImage& image);

}  // namespace godwit
