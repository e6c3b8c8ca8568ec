//! What `brig pack` writes, read by the tools.

use crate::common::Case;

/// The cases of this file.
pub const CASES: &[Case] = &[];
