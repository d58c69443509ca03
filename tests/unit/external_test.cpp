#include "dump/external.h"

#include <gtest/gtest.h>

#include "kernel/error.h"

namespace godwit {
namespace {

std::string parts(std::string_view text) {
  const ExternalResource external = parse_external(text);
  return external.kind + "|" + external.what + "|" + external.name;
}

TEST(External, HasKindWhatAndName) {
  EXPECT_EQ(parts("net[4026532]:outer"), "net|4026532|outer");
  EXPECT_EQ(parts("mnt[/etc/hosts]:/etc/hosts"), "mnt|/etc/hosts|/etc/hosts");
  EXPECT_EQ(parts("mnt[/a[1]:b]:name"), "mnt|/a[1]:b|name");
  EXPECT_EQ(parts("fd[1]:pipe:[41]"), "fd|1|pipe:[41]");
}

TEST(External, MayLackANameOrWhat) {
  EXPECT_EQ(parts("mnt[]"), "mnt||");
  EXPECT_EQ(parts("mnt[]:"), "mnt||");
  EXPECT_EQ(parts("net[5]"), "net|5|");
}

TEST(External, OtherFormsAreRefused) {
  for (const char* text : {"", "net", "net[5", "net5]:x", "[5]:x", "net]5[:x", "]:["}) {
    EXPECT_THROW(static_cast<void>(parse_external(text)), Error) << text;
  }
}

TEST(External, IsFoundByKindAndInode) {
  const std::vector<ExternalResource> given{{"net", "7", "outer"}, {"pipe", "8", ""}};
  EXPECT_EQ(external_name(given, "net", 7), "outer");
  EXPECT_EQ(external_name(given, "pipe", 8), "");
  EXPECT_EQ(external_name(given, "uts", 7), std::nullopt);
  EXPECT_EQ(external_name(given, "net", 77), std::nullopt);
}

}  // namespace
}  // namespace godwit
