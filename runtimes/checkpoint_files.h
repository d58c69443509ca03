#pragma once

#include <string>

/// The files of a container's checkpoint, on their way between the place where its manager has them and one
/// of ours.
namespace godwit::runtimes {

/// An open directory and its path, for errors.
struct Directory {
  int fd = -1;
  std::string path;
};

/// The files of a dump: those that are never written to once they are complete become links if both
/// directories are in one file system, all others copies. `sync`: their content is on disk when this returns.
/// Throws Error; then some files may be there.
void copy_checkpoint(const Directory& from, const Directory& to, bool sync);

/// A copy of one regular file, for its owner alone. Returns whether there is such a file. Throws Error.
bool copy_if_there(const Directory& from, const std::string& name, const Directory& to, bool sync);

/// A new file with this content. Throws Error.
void write_new_file(const Directory& to, const std::string& name, const std::string& content, bool sync);

}  // namespace godwit::runtimes
