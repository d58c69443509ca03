// Run by the build: docs/support-table.md has the rows of the dump's own registries. Without arguments it
// prints the document; with its path it compares.
#include <cstdio>
#include <string>

#include "dump/support.h"
#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

constexpr std::string_view kHead =
    "# What becomes of each kind of kernel object\n\n"
    "Written by the build's `support_table` from the registries by which a dump itself decides. What is kept "
    "of "
    "tasks and threads, and where exactness ends, is in [support.md](support.md). What is refused is refused "
    "by "
    "name, and the tree runs on.\n";

std::string document() {
  std::string text(kHead);
  for (const SupportSection& section : support_table()) {
    text += fmt::format("\n## {}\n\n| | | |\n| --- | --- | --- |\n", section.title);
    for (const SupportRow& row : section.rows) {
      text += fmt::format("| {} | {} | {} |\n", row.object,
                          row.fate == SupportRow::Fate::Kept ? "kept" : "refused", row.words);
    }
  }
  return text;
}

int run(const char* path) {
  const std::string text = document();
  if (path == nullptr) {
    std::fputs(text.c_str(), stdout);
  } else if (read_file(path) != text) {
    throw error("{} isn't that of the registries; 'build/support_table >docs/support-table.md' mends that",
                path);
  }
  return 0;
}

}  // namespace

}  // namespace godwit

int main(int argc, char** argv) {
  try {
    return godwit::run(argc > 1 ? argv[1] : nullptr);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "support_table: %s\n", e.what());
  }
  return 1;
}
