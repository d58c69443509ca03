#include "dump/net_settings.h"

#include <string>
#include <system_error>

#include "images-format/validate_index.h"
#include "kernel/blocked_signals.h"
#include "kernel/net_settings.h"

namespace godwit {

NetSettingsReader::~NetSettingsReader() {
  if (helper_.joinable()) {
    helper_.join();
  }
}

void NetSettingsReader::start() {
  const BlockedSignals blocked;  // they are for the calling thread, which waits where they matter
  try {
    helper_ = std::thread([this] { read(); });
  } catch (const std::system_error&) {
    read();  // no more threads can be had
  }
}

void NetSettingsReader::read() noexcept {
  try {
    for_each_net_setting([this](const std::string& path, const std::string& value) {
      image::NetSetting& setting = *found_.add_settings();
      setting.set_path(path);
      setting.set_value(value);
    });
  } catch (...) {
    failure_ = std::current_exception();
  }
}

void NetSettingsReader::finish(image::NetNamespace& record) {
  if (helper_.joinable()) {
    helper_.join();
  }
  if (failure_) {
    std::rethrow_exception(failure_);
  }
  record.mutable_settings()->Swap(found_.mutable_settings());
  validate_net(record);
}

}  // namespace godwit
