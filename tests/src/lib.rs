//! Models and an independent reference for the tests of this workspace.
