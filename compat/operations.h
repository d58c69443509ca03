#pragma once

#include <sys/types.h>

#include "compat/notifier.h"
#include "compat/settings.h"
#include "compat/workplace.h"

namespace godwit::compat {

// The same calls that godwit's own commands make, with what clients want around them. Each logs what it does
// and throws Error.

/// Dumps the tree. The client is told: pre-dump, network-lock, query-ext-files (scripts
/// aren't), post-dump, network-unlock.
void run_dump(const Settings& settings, const Workplace& workplace, const Notifier& notifier);

/// Restores the tree; returns its root's pid. The client is told: pre-restore, setup-namespaces,
/// post-setup-namespaces, post-restore, network-unlock, pre-resume, post-resume.
pid_t run_restore(const Settings& settings, const Workplace& workplace, const Notifier& notifier);

}  // namespace godwit::compat
