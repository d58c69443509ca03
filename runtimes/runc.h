#pragma once

#include <optional>
#include <string>

#include "runtimes/container.h"

/// runc: what it knows of its containers, and what its restore wants to find in a checkpoint.
namespace godwit::runtimes {

inline constexpr const char* kRuncRoot = "/run/runc";
/// A file of the checkpoint of a container.
inline constexpr const char* kRuncDescriptors = "descriptors.json";

/// Finds a container that runs. `root`: runc's directory (its option --root). Throws Error if there is none
/// by that name, if its state can't be believed, if /proc has another task under its pid, or if it is one
/// that a restore by runc couldn't bring back as it was.
[[nodiscard]] Container find_runc_container(const std::string& root, const std::string& name);

/// What `runc checkpoint` writes into a checkpoint beside what the dumper does, for `runc restore`: its file
/// kRuncDescriptors. `directory` is open, `path` stands in errors. `sync`: it is on disk when this returns.
/// Throws Error; then there is no such file.
void write_runc_descriptors(const Container& container, int directory, const std::string& path, bool sync);

/// What runc still knows of a container.
struct RuncRecord {
  bool runs = false;
  std::string bundle;  // empty: not said
};
/// Nothing: runc knows no such container. Throws Error.
[[nodiscard]] std::optional<RuncRecord> find_runc_record(const std::string& root, const std::string& name);

}  // namespace godwit::runtimes
