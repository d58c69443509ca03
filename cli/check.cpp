#include <algorithm>
#include <vector>

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
    "what happens without it. The last line says whether dump and restore are possible here, and what is\n"
    "missing. Fails if one is missing that godwit can't do without.\n",
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

constexpr size_t kNeededForWidth = 33;
constexpr size_t kWithoutWidth = 26;  // with the other columns less than 100

/// Lines of at most `width` columns, or of one word.
std::vector<std::string_view> wrapped(std::string_view text, size_t width) {
  std::vector<std::string_view> lines;
  while (text.size() > width) {
    size_t end = text.rfind(' ', width);
    end = end == std::string_view::npos ? std::min(text.find(' '), text.size()) : end;
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  lines.push_back(text);
  return lines;
}

std::string table_row(std::string_view name, std::string_view state, std::string_view since,
                      std::string_view needed_for, std::string_view without) {
  const auto left = wrapped(needed_for, kNeededForWidth);
  const auto right = wrapped(without, kWithoutWidth);
  std::string text;
  for (size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
    std::string line = fmt::format("{:<24} {:<8} {:<6}{:<{}} {}", i == 0 ? name : "", i == 0 ? state : "",
                                   i == 0 ? since : "", i < left.size() ? left[i] : "", kNeededForWidth,
                                   i < right.size() ? right[i] : "");
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

/// Names of features that may not be used, of those that are required or of the others.
std::string missing(bool required) {
  std::string names;
  for (const FeatureInfo& row : feature_table()) {
    if (row.required() == required && !has(row.feature)) {
      names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
    }
  }
  return names;
}

std::string verdict() {
  if (const std::string names = missing(true); !names.empty()) {
    return fmt::format("dump and restore are not possible here: {} missing\n", names);
  }
  const std::string names = missing(false);
  return names.empty() ? "dump and restore are possible here, nothing is missing\n"
                       : fmt::format("dump and restore are possible here, without {}\n", names);
}

std::string table() {
  std::string text = table_row("FEATURE", "STATE", "SINCE", "NEEDED FOR", "WITHOUT IT");
  for (const FeatureInfo& row : feature_table()) {
    text += table_row(row.name, state_name(presence(row.feature)),
                      fmt::format("{}.{}", row.since.major, row.since.minor), row.needed_for,
                      row.required() ? "required" : row.without);
  }
  return text + verdict();
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
  return fmt::format("{{\n  \"possible\": {},\n  \"features\": [{}\n  ]\n}}\n", missing(true).empty(), rows);
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
  if (const std::string names = missing(true); !names.empty()) {
    throw Error("required, but not there: " + names, 0, "godwit needs root and a kernel of 5.15 or newer");
  }
  return kDone;
}

}  // namespace godwit::cli
