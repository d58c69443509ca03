// Mounts of a container: a root of its own, propagation, covered file systems, files in them, roots that have
// been removed, tasks whose root is a directory or a mount inside. To be started in new mount and pid
// namespaces.
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <vector>

#include "tests/workloads/workload.h"

namespace {

using workload::must;

void make(const std::string& path) {
  must(mkdir(path.c_str(), 0755), path.c_str());
}

void make_way(const std::string& path) {
  for (size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1)) {
    mkdir(path.substr(0, end).c_str(), 0755);
  }
  mkdir(path.c_str(), 0755);
}

void put(const std::string& path, const std::string& text) {
  const int fd =
      static_cast<int>(must(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), path.c_str()));
  must(write(fd, text.data(), text.size()) - static_cast<ssize_t>(text.size()), "write");
  close(fd);
}

std::string get(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return in ? text.str() : "(nothing)";
}

void mount_on(const char* source, const std::string& place, const char* type, unsigned long flags = 0,
              const char* data = nullptr) {
  must(mount(source, place.c_str(), type, flags, data), place.c_str());
}

void bind_on(const std::string& from, const std::string& to, unsigned long flags = 0) {
  mount_on(from.c_str(), to, nullptr, MS_BIND | flags);
}

/// Where the programs of the machine and the workload's directory are as they were.
void have_own_root() {
  mount_on(nullptr, "/", nullptr, MS_REC | MS_PRIVATE);
  const std::string root = workload::in_directory("root");
  make(root);
  mount_on("root", root, "tmpfs", MS_NOSUID, "mode=755,size=16m");
  for (const char* name : {"usr", "proc", "old"}) {
    make(root + "/" + name);
  }
  for (const char* name : {"bin", "lib", "lib64"}) {
    must(symlink((std::string("usr/") + name).c_str(), (root + "/" + name).c_str()), name);
  }
  bind_on("/usr", root + "/usr", MS_REC);
  make_way(root + workload::directory);
  bind_on(workload::directory, root + workload::directory);
  mount_on("proc", root + "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC);
  must(chdir(root.c_str()), "chdir");
  must(syscall(SYS_pivot_root, ".", "old"), "pivot_root");
  must(chdir("/"), "chdir");
  must(umount2("/old", MNT_DETACH), "leaving the old root");
  must(rmdir("/old"), "rmdir");
  // The old ones are of mounts that aren't there any more.
  must(mknod(workload::in_directory("null").c_str(), S_IFCHR | 0666, makedev(1, 3)), "mknod");
  for (const int fd : {0, 1, 2}) {
    close(fd);
    must(open(workload::in_directory(fd == 0 ? "null" : "output").c_str(), O_RDWR | O_APPEND), "open");
  }
}

/// "1 (2 on /a) 0 / /a/b rw shared:1": numbers by order, so that they are the same after a restore.
std::vector<std::string> mounts() {
  std::ifstream in("/proc/self/mountinfo");
  std::map<std::string, std::string> places;
  std::map<std::string, std::string> groups;
  std::vector<std::pair<std::string, std::string>> lines;  // by place
  std::string line;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    std::string id;
    std::string parent;
    std::string device;
    std::string place;
    std::string root;
    words >> id >> parent >> device >> root >> place;
    places[id] = places[parent] + " > " + place;
    std::string rest;
    for (std::string word; words >> word;) {
      rest += " " + word;
    }
    lines.emplace_back(places[id], root + rest);
  }
  std::sort(lines.begin(), lines.end());
  std::vector<std::string> seen;
  for (const auto& [place, rest] : lines) {
    std::istringstream words(rest);
    std::string text = place;
    for (std::string word; words >> word;) {
      for (const char* tag : {"shared:", "master:"}) {
        if (word.rfind(tag, 0) == 0) {
          std::string& number = groups[word.substr(strlen(tag))];
          number = number.empty() ? std::to_string(groups.size()) : number;
          word = tag + number;
        }
      }
      text += " " + word;
    }
    seen.push_back(text);
  }
  return seen;
}

bool is_mount_point(const std::string& path) {
  struct stat here {};
  struct stat above {};
  must(stat(path.c_str(), &here), path.c_str());
  must(stat((path + "/..").c_str(), &above), path.c_str());
  return here.st_dev != above.st_dev;
}

void prepare_propagation() {
  for (const char* name : {"/shared", "/peer", "/slave", "/both", "/private", "/unbindable"}) {
    make(name);
  }
  mount_on("shared", "/shared", "tmpfs", 0, "size=1m,nr_inodes=100");
  make("/shared/sub");
  make("/shared/sub/place");
  mount_on(nullptr, "/shared", nullptr, MS_SHARED);
  bind_on("/shared/sub", "/peer");
  bind_on("/shared", "/slave");
  mount_on(nullptr, "/slave", nullptr, MS_SLAVE);
  bind_on("/slave", "/both");
  mount_on(nullptr, "/both", nullptr, MS_SLAVE);
  mount_on(nullptr, "/both", nullptr, MS_SHARED);
  bind_on("/both", "/private");
  mount_on(nullptr, "/private", nullptr, MS_PRIVATE);
  bind_on("/shared", "/unbindable");
  mount_on(nullptr, "/unbindable", nullptr, MS_UNBINDABLE);
}

void check_propagation() {
  mount_on("spread", "/peer/place", "tmpfs");
  const std::vector<std::pair<const char*, bool>> places = {
      {"/shared/sub/place", true}, {"/peer/place", true},         {"/slave/sub/place", true},
      {"/both/sub/place", true},   {"/private/sub/place", false}, {"/unbindable/sub/place", false}};
  for (const auto& [place, wanted] : places) {
    workload::check_equal(is_mount_point(place), wanted, place);
  }
  must(umount("/slave/sub/place"), "umount");
  workload::check(is_mount_point("/shared/sub/place"), "a slave's umount spreads to its master");
  must(umount("/shared/sub/place"), "umount");
  workload::check(!is_mount_point("/peer/place") && !is_mount_point("/both/sub/place"),
                  "an umount doesn't spread");
  mount_on("up", "/both/sub/place", "tmpfs");
  workload::check(!is_mount_point("/shared/sub/place"), "a slave's mount spreads to its master");
  must(umount("/both/sub/place"), "umount");
  errno = 0;
  workload::check(mount("/unbindable", "/private", nullptr, MS_BIND, nullptr) != 0 && errno == EINVAL,
                  "an unbindable mount can be bound");
}

struct Opened {
  int nameless = -1;       // unlinked in a tmpfs
  int removed = -1;        // unlinked, but a mount shows it
  int removed_there = -1;  // the same, opened through that mount
};

Opened prepare_files() {
  Opened opened;
  make("/data");
  mount_on("data", "/data", "tmpfs", MS_NODEV, "mode=750,uid=7");
  put("/data/text", "covered");
  put("/data/removed", "removed");
  put("/data/shown", "");
  must(setxattr("/data/text", "trusted.workload", "value", 5, 0), "setxattr");
  must(link("/data/text", "/data/same"), "link");
  bind_on("/data/removed", "/data/shown");
  opened.removed = static_cast<int>(must(open("/data/removed", O_RDWR), "open"));
  opened.removed_there = static_cast<int>(must(open("/data/shown", O_RDONLY), "open"));
  must(unlink("/data/removed"), "unlink");
  put("/data/nameless", "nameless");
  opened.nameless = static_cast<int>(must(open("/data/nameless", O_RDWR), "open"));
  must(unlink("/data/nameless"), "unlink");
  make("/data/below");
  mount_on("below", "/data/below", "tmpfs");
  put("/data/below/text", "twice covered");
  return opened;
}

void cover() {
  make("/cover");
  mount_on("covered", "/cover", "tmpfs", 0, "mode=700");
  put("/cover/hidden", "hidden");
  make("/cover/place");
  mount_on("hidden", "/cover/place", "tmpfs");
  put("/cover/place/deeper", "deeper");
  mount_on("cover", "/cover", "tmpfs", MS_RDONLY);
}

void check_covered() {
  workload::check(access("/cover/hidden", F_OK) != 0, "what is covered can be seen");
  must(umount("/cover"), "umount");
  workload::check(get("/cover/hidden") == "hidden", "what was covered has changed");
  workload::check(get("/cover/place/deeper") == "deeper", "what was below has changed");
  workload::check(is_mount_point("/cover/place"), "what was below isn't mounted");
}

std::string read_at_start(int fd) {
  char text[64] = {};
  must(pread(fd, text, sizeof text - 1, 0), "pread");
  return text;
}

void check_files(const Opened& opened) {
  workload::check(get("/data/text") == "covered" && get("/data/below/text") == "twice covered",
                  "the files of a tmpfs have changed");
  char value[16] = {};
  workload::check_equal(getxattr("/data/same", "trusted.workload", value, sizeof value), 5, "an attribute");
  struct stat one {};
  struct stat other {};
  must(stat("/data/text", &one), "stat");
  must(stat("/data/same", &other), "stat");
  workload::check_equal(static_cast<long long>(one.st_ino), static_cast<long long>(other.st_ino),
                        "a hard link");
  workload::check(read_at_start(opened.nameless) == "nameless", "an unlinked file has changed");
  must(pwrite(opened.removed, "written", 7, 0), "pwrite");
  workload::check(read_at_start(opened.removed_there) == "written" && get("/data/shown") == "written",
                  "a removed file and its mount are two");
}

pid_t start(const std::function<void()>& body) {
  const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    body();
    workload::finish_child();
  }
  return child;
}

/// Its root is somewhere below, where the workload's directory is mounted, too.
pid_t start_in(const std::string& root, const char* mark) {
  make(root + "/marks");
  make(root + "/marks/only");
  bind_on(workload::directory, root + "/marks");
  const pid_t child = start([&] {
    must(chroot(root.c_str()), "chroot");
    must(chdir("/marks"), "chdir");
    strcpy(workload::directory, "/marks");
    workload::mark(mark);
    workload::wait_to_go_on();
    workload::check(access("/usr", F_OK) != 0 && access("/proc", F_OK) != 0, "another root can be seen");
    workload::check(access("only", F_OK) != 0 && access("/marks/ready", F_OK) == 0, "the root is another");
    char here[64] = {};
    workload::check(getcwd(here, sizeof here) != nullptr && strcmp(here, "/marks") == 0,
                    "the working directory is another");
  });
  workload::wait_for_mark(mark);
  return child;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  umask(0);
  have_own_root();
  prepare_propagation();
  const Opened opened = prepare_files();
  cover();
  make("/proc2");
  mount_on("proc", "/proc2", "proc", 0, "hidepid=invisible,subset=pid");
  make("/queues");
  mount_on("mqueue", "/queues", "mqueue", MS_NOEXEC);
  make("/jail");
  const pid_t in_directory = start_in("/jail", "in-directory");
  make("/jail2");
  mount_on("jail", "/jail2", "tmpfs");
  const pid_t in_mount = start_in("/jail2", "in-mount");
  const std::vector<std::string> before = mounts();
  workload::say_ready();
  workload::wait_to_go_on();
  const std::vector<std::string> now = mounts();
  workload::check_equal(static_cast<long long>(now.size()), static_cast<long long>(before.size()), "mounts");
  for (size_t i = 0; i < now.size() && i < before.size(); ++i) {
    if (now[i] != before[i]) {
      workload::fail("a mount was\n%s\nand is\n%s", before[i].c_str(), now[i].c_str());
    }
  }
  check_propagation();
  check_files(opened);
  check_covered();
  workload::check(access("/proc2/sys", F_OK) != 0 && access("/proc2/self/maps", F_OK) == 0,
                  "the second proc shows other things");
  workload::expect_end(in_directory);
  workload::expect_end(in_mount);
  workload::finish();
}
