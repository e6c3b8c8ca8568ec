//! `brig unpack` against layouts that are made here: layers of each kind, and
//! whatever can be wrong with an image, with what is said of it.

mod builder;
mod layers;
mod wrong;
