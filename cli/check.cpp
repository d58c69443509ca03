#include "cli/command_line.h"
#include "kernel/error.h"
#include "kernel/features.h"
#include "program/output.h"

namespace godwit::cli {

namespace {

constexpr CommandText kText{
    "check", "[--json] [-v]",
    "Tries what godwit needs of this kernel, its configuration and our privileges, and prints one row a\n"
    "feature: whether it is present, since which kernel there is such a thing, what it is needed for, and\n"
    "what happens without it. Fails if one is missing that godwit can't do without.\n",
    "  godwit check                      a table for people\n"
    "  godwit check --json | jq '.features[] | select(.state == \"absent\")'"};

std::string_view state_name(Presence presence) {
  switch (presence) {
    case Presence::Present:
      return "present";
    case Presence::Absent:
      return "absent";
    case Presence::Hidden:
      return "hidden";
  }
  return "absent";
}

std::string table() {
  std::string text =
      fmt::format("{:<25}{:<9}{:<7}{:<68}{}\n", "FEATURE", "STATE", "SINCE", "NEEDED FOR", "WITHOUT IT");
  for (const FeatureInfo& row : feature_table()) {
    text += fmt::format("{:<25}{:<9}{:<7}{:<68}{}\n", row.name, state_name(presence(row.feature)),
                        fmt::format("{}.{}", row.since.major, row.since.minor), row.needed_for,
                        row.required() ? "required" : row.without);
  }
  return text;
}

std::string json() {
  std::string rows;
  for (const FeatureInfo& row : feature_table()) {
    rows += fmt::format(
        "{}\n    {{\"name\": {}, \"state\": {}, \"since\": \"{}.{}\", \"required\": {}, \"needed_for\": {}, "
        "\"without\": {}}}",
        rows.empty() ? "" : ",", json_string(row.name), json_string(state_name(presence(row.feature))),
        row.since.major, row.since.minor, row.required(), json_string(row.needed_for),
        json_string(row.without));
  }
  return fmt::format("{{\n  \"features\": [{}\n  ]\n}}\n", rows);
}

std::string missing() {
  std::string names;
  for (const FeatureInfo& row : feature_table()) {
    if (row.required() && !has(row.feature)) {
      names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
    }
  }
  return names;
}

}  // namespace

int run_check(Arguments arguments) {
  bool as_json = false;
  CommandLine line(kText);
  line.flag("--json", as_json, "Print the same as JSON");
  if (!line.parse(arguments)) {
    return kDone;
  }
  print_out(as_json ? json() : table());
  if (const std::string names = missing(); !names.empty()) {
    throw Error("required, but not there: " + names, 0, "godwit needs root and a kernel of 5.15 or newer");
  }
  return kDone;
}

}  // namespace godwit::cli
