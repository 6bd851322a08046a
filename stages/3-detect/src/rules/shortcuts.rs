//! Expressions in the words that CEL evaluates fastest.
//!
//! In: a checked expression. Out: the same one with `x.field` written as `x["field"]`, and `!x` as `x ? false : true`, and
//! `args(c, "...")[0]` as a call that decodes one argument only. CEL
//! takes `x.field` for a name of its own first, puts texts together and looks them up in every scope; and for each `!`, of
//! which every loop has one per element, it prepares the words of an error that does not happen. Together these took most
//! of the time of a rule. Must never: change what an expression means, or run before it was checked, since the checker
//! reads it as it was written.

use super::functions::PART;
use super::tree::parts;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::CelBool;

/// Rewrites every part. Fields of what is no name are left, since CEL reads them at once.
pub(super) fn take(node: &mut IdedExpr) {
    parts(node).into_iter().for_each(take);
    match &mut node.expr {
        Expr::Select(select) => {
            if select.test || !matches!(select.operand.expr, Expr::Ident(_)) {
                return;
            }
            let field = LiteralValue::String(select.field.clone().into());
            let args = vec![*select.operand.clone(), IdedExpr { id: node.id, expr: Expr::Literal(field) }];
            node.expr = Expr::Call(CallExpr { func_name: operators::INDEX.to_owned(), target: None, args });
        }
        Expr::Call(call) => {
            part(call);
            if call.func_name == operators::LOGICAL_NOT {
                let answer = |yes| IdedExpr {
                    id: node.id,
                    expr: Expr::Literal(LiteralValue::Boolean(CelBool::from(yes))),
                };
                call.func_name = operators::CONDITIONAL.to_owned();
                call.args.extend([answer(false), answer(true)]);
            }
        }
        _ => {}
    }
}

/// `args(c, signature)[place]` as one call.
fn part(call: &mut CallExpr) {
    if call.func_name != operators::INDEX || call.args.len() != 2 {
        return;
    }
    let Some(IdedExpr { expr: Expr::Call(list), .. }) = call.args.first() else { return };
    if list.target.is_some() || !matches!(list.func_name.as_str(), "args" | "event_args") {
        return;
    }
    let place = call.args.pop();
    if let Some(IdedExpr { expr: Expr::Call(list), .. }) = call.args.pop() {
        call.args = list.args;
    }
    call.args.extend(place);
    call.func_name = PART.to_owned();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> String {
        let program = cel::Env::stdlib().compile(text).unwrap();
        let mut expression = program.expression().clone();
        take(&mut expression);
        format!("{expression:?}")
    }

    #[test]
    fn no_negation_is_left() {
        for text in ["!tx.success", "!!tx.success", "logs.exists(l, !l.protected)"] {
            assert!(!rewritten(text).contains(operators::LOGICAL_NOT), "{text}: {}", rewritten(text));
        }
    }

    #[test]
    fn fields_are_indexes_wherever_they_stand() {
        for text in
            ["tx.from == tx.to", "logs.exists(l, l.protected)", "f([tx.from])", "x.y.size() > 1 ? a.b : c.d"]
        {
            assert!(!rewritten(text).contains("Select("), "{text}: {}", rewritten(text));
        }
        assert!(
            rewritten("logs[0].address == tx.to").contains("Select("),
            "what is no name is left as it is"
        );
        assert!(rewritten("has(tx.from)").contains("Select("), "a test for a field is no reading of it");
    }
}
