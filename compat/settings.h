#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "kernel/tcp_lock.h"

namespace godwit::compat {

/// MOUNTPOINT and NAME in a dump, NAME and PATH in a restore.
struct ExternalMount {
  std::string key;
  std::string value;
};

/// What a client asked for, whether by RPC or by command line.
struct Settings {
  // Where.
  std::string images_dir = ".";
  std::string work_dir;  // logs, statistics, pid files; empty: the images' directory
  std::string log_file;  // relative to the work directory; empty: stderr
  int log_level = 0;     // 1 errors, 2 warnings, 3 what is done, 4 every step; 0: not said
  bool log_to_stderr = false;
  bool display_stats = false;
  std::string status_fd;  // number of our descriptor, or a path

  // What.
  pid_t pid = 0;
  bool leave_running = false;
  bool leave_stopped = false;
  std::string parent;      // the checkpoint to build on, as seen from the images' directory
  bool track_mem = false;  // so that a later dump can build on this one, if the tree runs on
  bool shell_job = false;
  bool orphan_terminals = false;
  bool tcp_established = false;
  NetworkLock network_lock = NetworkLock::Nftables;
  std::vector<std::string> cgroup_roots;  // [CONTROLLER:]PATH
  bool notify = false;                    // the client wants notifications by RPC
  std::vector<std::string> action_scripts;
  bool sibling = false;
  bool detach = false;
  std::string pidfile;
  std::vector<std::string> exec_cmd;

  // Outside of the tree, as the client writes it: see outside.h.
  std::string root;                   // of the tree's mounts
  std::vector<std::string> external;  // KIND[WHAT]:NAME
  std::vector<ExternalMount> external_mounts;
  std::vector<std::string> inherited;  // fd[N]:NAME
  bool empty_network = false;          // whoever restores furnishes the network namespace
  std::vector<std::string> skipped_mounts;
  std::vector<std::string> enabled_file_systems;

  // The program itself.
  std::string address;  // of the service's socket
  std::vector<std::string> features;
  std::string config_file;
  bool no_default_config = false;
  bool version = false;
  bool help = false;
};

}  // namespace godwit::compat
