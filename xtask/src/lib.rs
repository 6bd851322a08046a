//! What the checks of this repository share: where it lies, which files it has, what its crates depend on.
//!
//! In: the working tree and `cargo metadata`. Out: plain lists that the tests under `tests/` judge. Must never
//! change a file.

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Every Rust file of the repository outside of build output, with its path relative to the root.
///
/// # Errors
/// A folder or file that cannot be read, by name.
pub fn rust_files() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() && !["target", "node_modules", ".git"].contains(&name.as_str()) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text =
                    std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
                let relative = path.strip_prefix(root())?.to_string_lossy().into_owned();
                found.push((relative, text));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// One package of the dependency graph.
#[derive(Debug)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Licence expression as its manifest states it.
    pub license: String,
    /// True for a crate of this workspace.
    pub member: bool,
    /// Names of the packages it depends on, development and build dependencies left out.
    pub dependencies: BTreeSet<String>,
}

/// The resolved dependency graph, by package id.
///
/// # Errors
/// `cargo metadata` fails or prints something else than expected.
pub fn packages() -> Result<BTreeMap<String, Package>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    // Only the packages of this platform are certain to be at hand offline.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let arguments =
        ["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", &platform];
    let output =
        Command::new(cargo).args(arguments).current_dir(root()).output().context("running cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    let members: BTreeSet<&str> =
        list(&metadata, "workspace_members")?.iter().filter_map(Value::as_str).collect();
    let mut packages = BTreeMap::new();
    for package in list(&metadata, "packages")? {
        let id = text(package, "id")?;
        let license = package.get("license").and_then(Value::as_str).unwrap_or_default().to_owned();
        let entry = Package {
            name: text(package, "name")?.to_owned(),
            license,
            member: members.contains(id),
            dependencies: BTreeSet::new(),
        };
        packages.insert(id.to_owned(), entry);
    }
    for node in list(metadata.get("resolve").unwrap_or(&Value::Null), "nodes")? {
        let names: BTreeSet<String> = normal_dependencies(node)?
            .into_iter()
            .filter_map(|id| packages.get(id).map(|package| package.name.clone()))
            .collect();
        if let Some(package) = packages.get_mut(text(node, "id")?) {
            package.dependencies = names;
        }
    }
    Ok(packages)
}

fn normal_dependencies(node: &Value) -> Result<Vec<&str>> {
    let mut ids = Vec::new();
    for dependency in list(node, "deps")? {
        let normal =
            list(dependency, "dep_kinds")?.iter().any(|kind| kind.get("kind").is_some_and(Value::is_null));
        if normal {
            ids.push(text(dependency, "pkg")?);
        }
    }
    Ok(ids)
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value.get(key).and_then(Value::as_array).ok_or_else(|| anyhow!("cargo metadata has no list '{key}'"))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value.get(key).and_then(Value::as_str).ok_or_else(|| anyhow!("cargo metadata has no text '{key}'"))
}
