//! Artifacts pushed and pulled: to directories and from web servers, whole and damaged.

mod hostile;
#[path = "../../../bundle/tests/bundles/place.rs"]
mod place;
mod samples;
mod server;
mod versions;
mod web;
