//! The benches of this workspace are in `benches/`.
