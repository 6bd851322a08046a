//! Fields read without looking for longer names first.
//!
//! In: a checked expression. Out: the same one with `x.field` written as `x["field"]`, which means the same for every
//! record. CEL takes `x.field` for a name of its own first, and puts texts together and looks them up in every scope each
//! time; that took most of the time of a rule. Must never: run before an expression was checked, since the checker reads
//! fields as they were written.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};

/// Rewrites the fields of names; those of other parts are not looked for as names.
pub(super) fn read_directly(node: &mut IdedExpr) {
    match &mut node.expr {
        Expr::Select(select) => {
            read_directly(&mut select.operand);
            if select.test || !matches!(select.operand.expr, Expr::Ident(_)) {
                return;
            }
            let field = LiteralValue::String(select.field.clone().into());
            let args = vec![*select.operand.clone(), IdedExpr { id: node.id, expr: Expr::Literal(field) }];
            node.expr = Expr::Call(CallExpr { func_name: operators::INDEX.to_owned(), target: None, args });
        }
        Expr::Call(call) => {
            call.target.iter_mut().map(AsMut::as_mut).chain(call.args.iter_mut()).for_each(read_directly);
        }
        Expr::Comprehension(walk) => {
            let parts = [
                &mut walk.iter_range,
                &mut walk.accu_init,
                &mut walk.loop_cond,
                &mut walk.loop_step,
                &mut walk.result,
            ];
            parts.into_iter().for_each(read_directly);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(read_directly),
        Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> String {
        let program = cel::Env::stdlib().compile(text).unwrap();
        let mut expression = program.expression().clone();
        read_directly(&mut expression);
        format!("{expression:?}")
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
