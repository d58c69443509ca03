// Mount namespaces for tests: made by a child process, collected, and compared by what can be seen of them.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dump/mount_options.h"
#include "images-format/checkpoint_reader.h"
#include "kernel/mount.h"
#include "restore/mount.h"

namespace godwit {

/// A child that makes a mount namespace of its own, does something there, and waits until it is killed.
class Inhabitant {
 public:
  explicit Inhabitant(const std::function<void()>& body);
  ~Inhabitant();
  Inhabitant(const Inhabitant&) = delete;
  Inhabitant& operator=(const Inhabitant&) = delete;
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] std::vector<MountInfo> mounts() const;
  /// From here, where a path inside leads.
  [[nodiscard]] std::string path(const std::string& inside) const;
  /// Does something there, in a process that ends then. Returns what it threw; empty: nothing.
  [[nodiscard]] std::string act(const std::function<void()>& body) const;

 private:
  pid_t pid_ = 0;
};

/// The system calls, which throw where they fail.
void must(int result);
void do_mount(const char* source, const char* target, const char* type, unsigned long flags,
              const char* data);
void bind(const char* source, const char* target, unsigned long flags = 0);
void propagate(const char* target, unsigned long how);
void make(const std::string& path);
void put(const std::string& path, const std::string& text, mode_t mode = 0644);
/// As runtimes do: the directory becomes the root, mounted on itself.
void enter(const std::string& root);

/// An image of the namespace alone, validated.
[[nodiscard]] CheckpointImage collect(const Inhabitant& of, MountOptions options = {});
/// Builds the image in a namespace of its own.
[[nodiscard]] std::unique_ptr<Inhabitant> rebuild(const CheckpointImage& image,
                                                  const MountSettings& settings);

/// What can be seen of a mount namespace, with groups by the order of their appearance.
[[nodiscard]] std::vector<std::string> view(const Inhabitant& of);
/// All files below, without what is mounted on them.
[[nodiscard]] std::vector<std::string> files(const std::string& root);

}  // namespace godwit
