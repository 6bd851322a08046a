//! The pages of a report: what stands in all of them, and that nothing of a chain becomes markup.

use super::*;

const MARKUP: &str = "<img src=x onerror=alert(1)>|[a](b)";

/// One attack that is missed and one ordinary transaction that alarms, below folders whose names are markup; and a rule whose
/// title, which is quoted in the grounds, is markup as well.
fn report() -> BacktestReport {
    let folder = tempfile::tempdir().unwrap();
    let [attacks, benign] = ["attacks", "benign"].map(|name| folder.path().join(format!("{name}{MARKUP}")));
    [&attacks, &benign].into_iter().for_each(|folder| fs::create_dir(folder).unwrap());
    write(&attacks, "missed", &call(SENDER, LENDER, "0xaaaa0009", &[]));
    write(&attacks, "theft", &loan(Some(500)));
    write(&benign, "alarm", &loan(Some(500)));
    write(&benign, "broken", r#"{"type":"CALL"}"#);
    let rules = folder.path().join("rules.toml");
    let rule = format!(
        "[[rule]]\nid = 'r'\ntitle = '{MARKUP}'\nclass = 'c'\nscore = 50\nwhen = \"calls.exists(c, c.protected)\"\n"
    );
    fs::write(&rules, rule).unwrap();
    let corpus = Corpus {
        attacks: vec![attacks],
        benign: vec![benign],
        rules: vec![rules],
        labels: Labels::parse(&format!("{},{MARKUP}\n", alloy_primitives::B256::ZERO)).unwrap(),
        ..Corpus::default()
    };
    backtest(&corpus, &Settings::default(), &|_| ()).unwrap()
}

#[test]
fn markup_from_paths_and_grounds_is_escaped_on_every_page() {
    let report = report();
    assert!(report.alarms[0].grounds.iter().any(|ground| ground.contains(MARKUP)), "{:?}", report.alarms);
    let [json, markdown, html] = report.files().unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["detected"], 1);
    let path = |page: &str, escaped: &str| {
        // The path of the miss, of the broken file and of both rows of recordings; the grounds of the alarm.
        assert!(page.matches(escaped).count() >= 5, "{page}");
        assert!(!page.contains("<img"), "{page}");
    };
    path(&html, "&lt;img src=x onerror=alert(1)&gt;|[a](b)");
    path(&markdown, "&lt;img src=x onerror=alert(1)&gt;\\|\\[a\\](b)");
}

#[test]
fn the_page_needs_nothing_else_and_shows_four_plots() {
    let report = super::guard::committed();
    let [_, markdown, html] = report.files().unwrap();
    assert_eq!(html.matches("<svg ").count(), 4);
    assert_eq!(html.matches("</svg>").count(), 4);
    for absent in ["<script", "href=", "src=\"", "url(", "@import", "<link"] {
        assert!(!html.contains(absent), "{absent}");
    }
    assert_eq!(
        html.matches("http").count(),
        5,
        "four names of the SVG format, and the policy's own attribute"
    );
    let ratio = "ratio of 3 attacks to 324 ordinary transactions, one to 108";
    assert!(html.contains(ratio), "{html}");
    for page in [markdown, html] {
        assert!(
            page.contains("35 of 37 incidents") && page.contains("that this command did not give"),
            "{page}"
        );
    }
}

#[test]
fn every_table_and_case_stands_on_both_pages() {
    let [_, markdown, html] = report().files().unwrap();
    let titles = [
        "Summary",
        "Recordings",
        "By kind of finding",
        "By detector",
        "By rule",
        "Every threshold",
        "How strong findings are",
        "Attacks that were missed, the least seen first",
        "Alarms on ordinary transactions, the strongest first",
        "Not judged",
    ];
    for title in titles {
        assert!(markdown.contains(&format!("\n## {title}\n")), "{title} in {markdown}");
        assert!(html.contains(&format!("<h2>{title}</h2>")), "{title} in {html}");
    }
    let rows = |page: &str, row: &str| page.lines().filter(|line| line.starts_with(row)).count();
    // A row of Markdown for the head and for the rule below it as well.
    let tables = html.matches("<table>").count();
    assert_eq!(rows(&markdown, "|"), rows(&html, "<tr>") + 2 * tables);
    assert!(markdown.contains("0.600 (in force)") && html.contains("0.600 (in force)"));
    assert!(!markdown.contains("## Histories"), "without histories there is no table of them");
}

#[test]
fn a_report_about_nothing_can_be_written() {
    let report = backtest(&Corpus::default(), &Settings::default(), &|_| ()).unwrap();
    let [_, markdown, html] = report.files().unwrap();
    assert!(markdown.contains("| attacks detected | 0 | 0 | 0.000 | 0.000 to 1.000 |"), "{markdown}");
    assert!(html.contains("</html>"));
}
