#pragma once

#include <map>
#include <memory>

#include "dump/keeper_protocol.h"
#include "kernel/fd.h"

namespace godwit::keeper {

/// A dump's conversation with the keeper of its tree. While it lasts, no other dump gets through to the
/// keeper.
class Client {
 public:
  struct Space {
    Fd userfaultfd;
    Base base;
  };

  /// With the keeper that there is. Null: none. Throws Error if it doesn't answer, or is of another version.
  [[nodiscard]] static std::unique_ptr<Client> find(const TaskIdentity& root);
  /// With that, or one that is started. Throws Error.
  [[nodiscard]] static std::unique_ptr<Client> find_or_start(const TaskIdentity& root);

  /// What the keeper has of that task; null: nothing.
  [[nodiscard]] const Space* space(const TaskIdentity& task) const;

  /// From now on the pages of these tasks aren't related to any checkpoint, whatever becomes of this dump:
  /// to be called before they are protected anew. Throws Error.
  void forget_bases();
  /// Gives it a userfaultfd to keep, once this is committed; this one keeps a copy. Throws Error.
  void hold(const TaskIdentity& task, Fd userfaultfd);
  void settle(const TaskIdentity& task, const Base& base);
  /// Throws Error; then nothing of it holds.
  void commit();

 private:
  explicit Client(Fd socket);
  void expect_done();

  Fd socket_;
  std::map<TaskIdentity, Space> spaces_;
};

}  // namespace godwit::keeper
