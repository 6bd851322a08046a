//! The parts of an expression, in the order in which they stand.
//!
//! In: a node. Out: the nodes directly below it, for whoever rewrites expressions at load. Must never: leave one out, or a literal
//! below it would be compared as text.

use cel::common::ast::{Expr, IdedExpr};

/// The parts of a node. Maps and structs have none here: the checker refuses them.
pub(super) fn parts(node: &mut IdedExpr) -> Vec<&mut IdedExpr> {
    match &mut node.expr {
        Expr::Call(call) => call.target.iter_mut().map(AsMut::as_mut).chain(&mut call.args).collect(),
        Expr::Comprehension(walk) => vec![
            &mut walk.iter_range,
            &mut walk.accu_init,
            &mut walk.loop_cond,
            &mut walk.loop_step,
            &mut walk.result,
        ],
        Expr::List(list) => list.elements.iter_mut().collect(),
        Expr::Select(select) => vec![&mut select.operand],
        Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}
