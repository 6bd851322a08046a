//! Names of functions and events from the ABIs that a rule file names.
//!
//! In: ABIs as compilers write them (a list of entries, or an artifact that holds one), and an expression. Out: the same
//! expression with `sig("withdraw")`, `event("Withdrawn")`, `args(call, "withdraw")` and `event_args(log, "Withdrawn")` written out as
//! signatures. It happens once, at load, so that nothing of an ABI is left when a transaction is judged, and its size costs
//! nothing then. Must never: choose between two functions of one name.

use super::fault::Mistake;
use super::tree::parts;
use alloy_json_abi::{Event, EventParam, Function, JsonAbi};
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// An ABI file, as whoever reads the configuration found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbiFile {
    /// As the rule file names it.
    pub path: PathBuf,
    /// What stands in it.
    pub text: String,
}

/// An ABI in either form. Nothing else of an artifact is read, since bytecode that is not linked yet is no hex.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Interface {
    List(JsonAbi),
    Artifact { abi: JsonAbi },
}

/// Signatures by name.
#[derive(Debug, Default)]
pub(super) struct Names {
    functions: BTreeMap<String, BTreeSet<String>>,
    events: BTreeMap<String, BTreeSet<String>>,
}

impl Names {
    /// Of all these files together.
    pub(super) fn of(files: &[AbiFile]) -> Result<Self, String> {
        let mut names = Self::default();
        for AbiFile { path, text } in files {
            let wrong = |why: String| format!("abi '{}': {why}", path.display());
            let found: Interface = serde_json::from_str(text).map_err(|error| {
                wrong(format!("expected the JSON of an ABI, or of an artifact with one ({error})"))
            })?;
            let (Interface::List(abi) | Interface::Artifact { abi }) = found;
            for function in abi.functions() {
                names
                    .functions
                    .entry(function.name.clone())
                    .or_default()
                    .insert(Function::signature(function));
            }
            for event in abi.events().filter(|event| !event.anonymous) {
                names.events.entry(event.name.clone()).or_default().insert(described(event));
            }
        }
        Ok(names)
    }

    /// Writes out the names in an expression.
    pub(super) fn expand(&self, node: &mut IdedExpr) -> Result<(), Mistake> {
        if let Expr::Call(call) = &mut node.expr {
            self.call(call)?;
        }
        parts(node).into_iter().try_for_each(|part| self.expand(part))
    }

    fn call(&self, call: &mut CallExpr) -> Result<(), Mistake> {
        let (known, what, place) = match call.func_name.as_str() {
            "sig" => (&self.functions, "function", 0),
            "event" => (&self.events, "event", 0),
            "args" => (&self.functions, "function", 1),
            "event_args" => (&self.events, "event", 1),
            _ => return Ok(()),
        };
        let is_plain = call.func_name == "event";
        let Some(IdedExpr { id, expr: Expr::Literal(LiteralValue::String(text)) }) = call.args.get_mut(place)
        else {
            return Ok(());
        };
        let name = text.inner();
        if name.contains('(') || known.is_empty() {
            return Ok(());
        }
        let found: Vec<&String> = known.get(name).into_iter().flatten().collect();
        match found.as_slice() {
            [one] if is_plain => *text = one.replace(" indexed", "").into(),
            [one] => *text = one.as_str().to_owned().into(),
            [] => {
                return Err(Mistake::at(*id, format!("no ABI of this file has {what} '{name}'")));
            }
            several => {
                let all = several.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(" and ");
                return Err(Mistake::at(*id, format!("'{name}' may be {all}: write which")));
            }
        }
        Ok(())
    }
}

/// An event with what of it is indexed.
fn described(event: &Event) -> String {
    let one = |input: &EventParam| {
        let indexed = if input.indexed { " indexed" } else { "" };
        format!("{}{indexed}", input.selector_type())
    };
    format!("{}({})", event.name, event.inputs.iter().map(one).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::super::RuleSet;
    use super::*;

    const ABI: &str = r#"[
        {"type":"function","name":"withdraw","inputs":[{"name":"to","type":"address"},{"name":"parts","type":"tuple[]",
            "components":[{"name":"amount","type":"uint256"},{"name":"note","type":"string"}]}],"outputs":[],"stateMutability":"nonpayable"},
        {"type":"function","name":"mint","inputs":[],"outputs":[],"stateMutability":"nonpayable"},
        {"type":"function","name":"mint","inputs":[{"name":"n","type":"uint8"}],"outputs":[],"stateMutability":"nonpayable"},
        {"type":"event","name":"Moved","inputs":[{"name":"to","type":"address","indexed":true},{"name":"n","type":"int256","indexed":false}],"anonymous":false}
    ]"#;

    fn load(when: &str, abi: &str) -> Result<RuleSet, String> {
        let text = format!(
            "abi = ['vault.json']\n[[rule]]\nid = 'it'\ntitle = 't'\nclass = 'c'\nscore = 7\nwhen = '''{when}'''"
        );
        assert_eq!(RuleSet::abi_files(&text), [PathBuf::from("vault.json")]);
        let file = AbiFile { path: "vault.json".into(), text: abi.to_owned() };
        RuleSet::parse_with("f", &text, vec![file]).map_err(|errors| errors[0].to_string())
    }

    #[test]
    fn names_are_the_signatures_that_the_abi_has() {
        let written_out = |when: &str| {
            let set = load(when, ABI).unwrap();
            format!("{:?} {:?}", set.rules[0].when, set.rules[0].needs)
        };
        let artifact = format!(r#"{{"contractName":"Vault","abi":{ABI}}}"#);
        for (by_name, by_signature) in [
            (
                "calls.exists(c, c.selector == sig('withdraw'))",
                "calls.exists(c, c.selector == sig('withdraw(address,(uint256,string)[])'))",
            ),
            (
                "logs.exists(l, l.topic0 == event('Moved'))",
                "logs.exists(l, l.topic0 == event('Moved(address,int256)'))",
            ),
            (
                "calls.exists(c, c.selector == sig('withdraw') && args(c, 'withdraw')[1][0][0] > 5)",
                "calls.exists(c, c.selector == sig('withdraw(address,(uint256,string)[])') && args(c, 'withdraw(address,(uint256,string)[])')[1][0][0] > 5)",
            ),
            (
                "logs.exists(l, size(event_args(l, 'Moved')) == 2 && event_args(l, 'Moved')[1] < 0)",
                "logs.exists(l, size(event_args(l, 'Moved(address indexed,int256)')) == 2 && event_args(l, 'Moved(address indexed,int256)')[1] < 0)",
            ),
        ] {
            assert_eq!(written_out(by_name), written_out(by_signature), "{by_name}");
            assert!(load(by_name, &artifact).is_ok());
        }
    }

    #[test]
    fn what_no_abi_says_is_refused_with_the_column() {
        for (when, what) in [
            (
                "calls.exists(c, c.selector == sig('deposit'))",
                "line 7, column 45: no ABI of this file has function 'deposit'",
            ),
            (
                "calls.exists(c, c.selector == sig('mint'))",
                "'mint' may be mint() and mint(uint8): write which",
            ),
            ("logs.exists(l, l.topic0 == event('withdraw'))", "no ABI of this file has event 'withdraw'"),
            (
                "calls.exists(c, c.selector == sig('withdraw') && args(c, 'withdraw')[2] == 5)",
                "there are 2 values",
            ),
        ] {
            let error = load(when, ABI).unwrap_err();
            assert!(error.contains(what), "{when}: {error}");
        }
        for (abi, what) in
            [("{", "expected the JSON of an ABI"), ("{\"bytecode\": \"0x00\"}", "or of an artifact with one")]
        {
            let error = load("tx.success", abi).unwrap_err();
            assert!(
                error.starts_with("rule file 'f', the file: abi 'vault.json': ") && error.contains(what),
                "{error}"
            );
        }
        let text =
            "abi = ['vault.json']\n[[rule]]\nid = 'it'\ntitle = 't'\nclass = 'c'\nscore = 7\nwhen = 'true'";
        let error = RuleSet::parse("f", text).unwrap_err()[0].to_string();
        assert!(error.contains("abi 'vault.json' was not read"), "{error}");
        // Without ABIs a name is no signature.
        let error = RuleSet::parse(
            "f",
            &text.replace("abi = ['vault.json']", "").replace("true", "tx.selector == sig(\"mint\")"),
        );
        assert!(error.unwrap_err()[0].to_string().contains("is not a signature"));
    }
}
