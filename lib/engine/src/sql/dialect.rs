//! How SQL is read: as sqlparser's generic dialect does, with the precedence of operators that SQL has.
//!
//! The generic dialect takes all that follows `IS [NOT] DISTINCT FROM`, AND and OR included, for its right operand; has
//! LIKE weaker than `=`, which makes `a LIKE 'x' = true` compare the pattern; and has `||` as strong as `*`.

use std::any::TypeId;

use datafusion::sql::sqlparser::{
    ast::Expr,
    dialect::{Dialect, GenericDialect, Precedence},
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::Token,
};

/// The dialect of queries, statements and rules.
#[derive(Debug)]
pub struct Sql;

/// Options of the generic dialect, taken over as they are.
macro_rules! as_generic {
    ($($option:ident)*) => {
        $(fn $option(&self) -> bool {
            GenericDialect.$option()
        })*
    };
}

impl Dialect for Sql {
    /// The parser asks by type for what only some dialects may say.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect.is_identifier_part(ch)
    }

    fn parse_infix(&self, parser: &mut Parser, left: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        let is_word = |offset, keyword| matches!(&parser.peek_nth_token_ref(offset).token, Token::Word(word) if word.keyword == keyword);
        if !is_word(0, Keyword::IS) {
            return None;
        }
        let is_negated = is_word(1, Keyword::NOT);
        let next = 1 + usize::from(is_negated);
        if !(is_word(next, Keyword::DISTINCT) && is_word(next + 1, Keyword::FROM)) {
            return None;
        }
        for _ in 0..next + 2 {
            parser.next_token();
        }
        let left = Box::new(left.clone());
        Some(parser.parse_subexpr(precedence).map(|right| match is_negated {
            true => Expr::IsNotDistinctFrom(left, Box::new(right)),
            false => Expr::IsDistinctFrom(left, Box::new(right)),
        }))
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        let is_concatenation = matches!(parser.peek_token_ref().token, Token::StringConcat);
        is_concatenation.then(|| Ok(self.prec_value(Precedence::PgOther)))
    }

    /// PostgreSQL's order (<https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-PRECEDENCE>), and among the
    /// operators on bits the generic dialect's.
    fn prec_value(&self, of: Precedence) -> u8 {
        match of {
            Precedence::Period => 200,
            Precedence::DoubleColon => 140,
            Precedence::AtTz => 110,
            Precedence::MulDivModOp => 90,
            Precedence::PlusMinus => 80,
            Precedence::Xor => 75,
            Precedence::Ampersand => 74,
            Precedence::Caret => 73,
            Precedence::Pipe | Precedence::Colon => 72,
            Precedence::PgOther => 70,
            Precedence::Between | Precedence::Like => 60,
            Precedence::Eq => 50,
            Precedence::Is => 40,
            Precedence::UnaryNot => 30,
            Precedence::And => 20,
            Precedence::Or => 10,
        }
    }

    as_generic! {
        supports_unicode_string_literal
        supports_partition_by_after_order_by
        supports_array_join_syntax
        supports_group_by_expr
        supports_group_by_with_modifier
        supports_left_associative_joins_without_parens
        supports_connect_by
        supports_match_recognize
        supports_pipe_operator
        supports_start_transaction_modifier
        supports_window_function_null_treatment_arg
        supports_dictionary_syntax
        supports_window_clause_named_window_reference
        supports_parenthesized_set_variables
        supports_select_wildcard_except
        support_map_literal_syntax
        allow_extract_custom
        allow_extract_single_quotes
        supports_extract_comma_syntax
        supports_create_view_comment_syntax
        supports_parens_around_table_factor
        supports_values_as_table_factor
        supports_create_index_with_clause
        supports_explain_with_utility_options
        supports_limit_comma
        supports_update_order_by
        supports_from_first_select
        supports_projection_trailing_commas
        supports_asc_desc_in_column_definition
        supports_try_convert
        supports_bitwise_shift_operators
        supports_comment_on
        supports_load_extension
        supports_named_fn_args_with_assignment_operator
        supports_struct_literal
        supports_empty_projections
        supports_nested_comments
        supports_multiline_comment_hints
        supports_user_host_grantee
        supports_string_escape_constant
        supports_array_typedef_with_brackets
        supports_match_against
        supports_set_names
        supports_comma_separated_set_assignments
        supports_filter_during_aggregation
        supports_select_wildcard_exclude
        supports_data_type_signed_suffix
        supports_interval_options
        supports_quote_delimited_string
        supports_select_wildcard_replace
        supports_select_wildcard_ilike
        supports_select_wildcard_rename
        supports_optimize_table
        supports_install
        supports_detach
        supports_prewhere
        supports_with_fill
        supports_limit_by
        supports_interpolate
        supports_settings
        supports_select_format
        supports_comment_optimizer_hint
        supports_constraint_keyword_without_name
        supports_key_column_option
        supports_comma_separated_trim
        supports_cte_without_as
        supports_select_item_multi_column_alias
        supports_xml_expressions
    }
}
