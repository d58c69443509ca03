#pragma once

#include <sys/types.h>

#include "compat/notifier.h"
#include "compat/settings.h"
#include "compat/workplace.h"

namespace godwit::compat {

// The same calls that godwit's own commands make, with what clients want around them. Each logs what it does
// and throws Error.

// Whom they tell when, and what a refusal does: docs/criu.md, "Moments".

/// Dumps the tree.
void run_dump(const Settings& settings, const Workplace& workplace, const Notifier& notifier);

/// Saves its memory while it runs, for a later dump to build on.
void run_pre_dump(const Settings& settings, const Workplace& workplace, const Notifier& notifier);

/// Restores the tree; returns its root's pid.
pid_t run_restore(const Settings& settings, const Workplace& workplace, const Notifier& notifier);

}  // namespace godwit::compat
