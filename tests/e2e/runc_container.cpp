#include "tests/e2e/runc_container.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "kernel/error.h"
#include "tests/e2e/counting_container.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/runtime.h"

namespace godwit::e2e {

namespace {

constexpr const char* kBusybox = "/bin/busybox";

std::string next_name() {
  static int made = 0;
  return fmt::format("godwit-test-{}-{}", ::getpid(), ++made);
}

}  // namespace

RuncContainer::RuncContainer() : name(next_name()) {
  for (const char* program : {"/usr/sbin/runc", kBusybox, "/usr/bin/python3"}) {
    if (!have_program(program)) {
      throw error("{} is needed (scripts/install-deps)", program);
    }
  }
  const Outcome made = with_criu(
      "cd '" + bundle.path() + "' && mkdir -p rootfs/bin rootfs/proc rootfs/dev rootfs/sys rootfs/tmp && " +
      "cp /bin/busybox rootfs/bin/ && " +
      "for name in sh cat sleep stty usleep mv syslogd logger; do ln -s busybox rootfs/bin/$name; done && " +
      "/usr/sbin/runc spec");
  if (!made.ok()) {
    throw error("cannot make a bundle: {}", made.words());
  }
  configure("c['process']['terminal'] = False; c['root']['readonly'] = False; " + command(kCountForever));
}

RuncContainer::~RuncContainer() {
  static_cast<void>(runc("delete --force " + name));
  for (const char* log : {"work/dump.log", "work/restore.log"}) {
    if (testing::Test::HasFailure()) {
      std::fputs(try_read(state / log).value_or("").c_str(), stderr);
    }
  }
}

void RuncContainer::configure(const std::string& python) const {
  const std::string script = state / "configure.py";
  std::ofstream(script) << "import json\nc = json.load(open('config.json'))\n"
                        << python << "\njson.dump(c, open('config.json', 'w'))\n";
  const Outcome done = with_criu("cd '" + bundle.path() + "' && /usr/bin/python3 '" + script + "'");
  if (!done.ok()) {
    throw error("cannot configure the container: {}", done.words());
  }
}

std::string RuncContainer::command(const std::string& shell) {
  return "c['process']['args'] = ['/bin/sh', '-c', r\"\"\"" + shell + "\"\"\"]";
}

std::string RuncContainer::line(const std::string& arguments) const {
  const std::string criu = CRIU_BINARY;
  return "export PATH=" + criu.substr(0, criu.rfind('/')) +
         ":/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin; runc --root '" + state.path() + "/runc' " +
         arguments;
}

Outcome RuncContainer::runc(const std::string& arguments) const {
  const std::string output = state / "output";
  Outcome outcome = with_criu(line(arguments) + " >'" + output + "' 2>&1");
  outcome.output += try_read(output).value_or("");
  return outcome;
}

std::string RuncContainer::directories() const {
  return "--image-path '" + (state / "images") + "' --work-path '" + (state / "work") + "' ";
}

/// The container's standard descriptors are runc's: a file outside couldn't be reached from inside again.
Outcome RuncContainer::start(const std::string& options) const {
  return with_criu(line("run --bundle '" + bundle.path() + "' --detach " + options + " " + name) +
                   " >/dev/null 2>&1");
}

Outcome RuncContainer::checkpoint(const std::string& options) const {
  return runc("checkpoint " + directories() + options + " " + name);
}

Outcome RuncContainer::restore(const std::string& options) const {
  return runc("restore " + directories() + "--detach --bundle '" + bundle.path() + "' " + options + " " +
              name);
}

int RuncContainer::count() const {
  return std::atoi(try_read(file("count")).value_or("").c_str());
}

bool RuncContainer::counts() const {
  const int before = count();
  return wait_until([&] { return count() > before; }, 10);
}

}  // namespace godwit::e2e
