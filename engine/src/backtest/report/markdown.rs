//! The report as Markdown.
//!
//! In: the sections. Out: one page. Must never: let text of a chain or a path be read as markup.

use super::document::{Section, Table};
use cordon_investigate::markdown_text;

/// The page. Plots are left out: their numbers stand in the tables.
pub(super) fn page(sections: &[Section]) -> String {
    let mut page = "# Back-test\n".to_owned();
    for section in sections {
        page.push_str(&format!("\n## {}\n", section.title));
        for note in &section.notes {
            page.push_str(&format!("\n{}\n", markdown_text(note)));
        }
        if let Some(table) = section.table.as_ref().filter(|table| !table.rows.is_empty()) {
            write_table(&mut page, table);
        }
        for case in &section.cases {
            page.push_str(&format!("\n- {}\n", markdown_text(&case.title)));
            case.lines.iter().for_each(|line| page.push_str(&format!("  - {}\n", markdown_text(line))));
        }
    }
    page
}

fn write_table(page: &mut String, table: &Table) {
    page.push_str(&format!("\n| {} |\n", table.head.join(" | ")));
    page.push_str(&format!("|{}\n", "---|".repeat(table.head.len())));
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(|cell| markdown_text(cell)).collect();
        page.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
}
