//! The report as one HTML file that needs nothing else.
//!
//! In: the sections. Out: a page without scripts and without anything to fetch. Must never: write text unescaped. The template's
//! name ends in `.html`, by which minijinja escapes everything but the plots.

use super::document::Section;
use crate::error::EngineError;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

/// Name of the page, and of its template.
const PAGE: &str = "report.html";

#[derive(Serialize)]
struct Content<'a> {
    sections: &'a [Section],
}

/// The page.
pub(super) fn page(sections: &[Section]) -> Result<String, EngineError> {
    let failed = |why: minijinja::Error| EngineError::Page { page: PAGE, why: format!("{why:#}") };
    let mut pages = Environment::new();
    pages.set_undefined_behavior(UndefinedBehavior::Strict);
    pages.add_template(PAGE, include_str!("report.html")).map_err(failed)?;
    pages.get_template(PAGE).and_then(|page| page.render(Content { sections })).map_err(failed)
}
