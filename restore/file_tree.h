#pragma once

#include "images-format/checkpoint_reader.h"
#include "images-format/mount.pb.h"

namespace godwit {

/// Makes all files of `tree` again, in the new superblock whose root directory `root` is (O_PATH or
/// readable). Throws Error that names the file.
void make_file_tree(int root, const image::FileTree& tree, const CheckpointImage& image);

}  // namespace godwit
