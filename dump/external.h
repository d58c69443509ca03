#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace godwit {

/// Something of the tree's that isn't kept: whoever restores hands it over by name. "net[4026532]:outer".
struct ExternalResource {
  std::string kind;  // "mnt", "pipe", or a kind of namespace
  std::string what;  // which of that kind: an inode number; of a mount its mount point
  std::string name;  // perhaps empty
};

/// Reads KIND[WHAT]:NAME, also KIND[WHAT] without a name. A mount point may have brackets and colons: WHAT
/// ends at the last "]:" in front of a name that has no such. Throws Error for what isn't of that form.
[[nodiscard]] ExternalResource parse_external(std::string_view text);

/// Whether the kind is one that is told by an inode number: some namespaces, pipes.
[[nodiscard]] bool is_external_by_inode(std::string_view kind);

/// The name given for what has this kind and inode number, which may be empty.
[[nodiscard]] std::optional<std::string> external_name(const std::vector<ExternalResource>& given,
                                                       std::string_view kind, uint64_t inode);

}  // namespace godwit
