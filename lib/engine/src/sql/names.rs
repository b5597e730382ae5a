//! Names without quotes mean what differs from them by case alone, where that is one thing: each is given the spelling that
//! it has in the table, or in the statement's own quotes. What is not known is left as it is: in lower case.

use std::{
    collections::{BTreeSet, HashMap},
    ops::ControlFlow,
};

use arrow::datatypes::{DataType, Fields, SchemaRef};
use contract::TableName;
use datafusion::sql::{
    parser::Statement,
    sqlparser::ast::{
        AssignmentTarget, ExcludeSelectItem, Expr, Ident, JoinConstraint, JoinOperator, MergeAction, ObjectName,
        ObjectNamePart, Query, RenameSelectItem, Select, SelectItem, SetExpr, Statement as SqlStatement, TableAlias,
        TableFactor, TableWithJoins, VisitMut, VisitorMut, WildcardAdditionalOptions, visit_expressions,
    },
};

/// Spellings by what is left of them without case.
#[derive(Debug, Clone, Default)]
struct Spellings(HashMap<String, BTreeSet<String>>);

impl Spellings {
    fn add(&mut self, name: &str) {
        self.0.entry(name.to_lowercase()).or_default().insert(name.to_owned());
    }

    fn add_fields(&mut self, fields: &Fields) {
        for field in fields {
            self.add(field.name());
            self.add_nested(field.data_type());
        }
    }

    fn add_nested(&mut self, data_type: &DataType) {
        match data_type {
            DataType::Struct(fields) => self.add_fields(fields),
            DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => {
                self.add_nested(field.data_type());
            }
            _ => {}
        }
    }

    fn of(&self, name: &str) -> Option<&BTreeSet<String>> {
        self.0.get(&name.to_lowercase())
    }
}

/// Spells the names of a statement as the tables do that it may read. `Err` says which name may mean several columns.
pub fn spell(statement: &mut Statement, tables: &[(TableName, SchemaRef)]) -> Result<(), String> {
    match statement {
        Statement::Statement(inner) => Speller::new(tables, inner.as_ref()).spell(inner.as_mut()),
        Statement::Explain(explain) => spell(&mut explain.statement, tables),
        _ => Ok(()),
    }
}

/// Spells the names of an expression over the columns of one table.
pub fn spell_expression(expression: &mut Expr, columns: &SchemaRef) -> Result<(), String> {
    let mut speller = Speller::new(&[], &*expression);
    speller.columns.add_fields(columns.fields());
    speller.spell(expression)
}

struct Speller<'a> {
    tables: &'a [(TableName, SchemaRef)],
    /// Columns of all tables, and what the statement has in quotes.
    columns: Spellings,
    /// Names that stand before a dot: tables, namespaces, aliases.
    relations: Spellings,
    /// Columns of the tables that a name of `relations` is known to mean.
    columns_of: HashMap<String, Spellings>,
    /// For each SELECT around the name, the columns of its tables.
    selects: Vec<Spellings>,
    /// Common table expressions: they come before tables of that name.
    common: BTreeSet<String>,
}

impl<'a> Speller<'a> {
    fn new(tables: &'a [(TableName, SchemaRef)], statement: &impl datafusion::sql::sqlparser::ast::Visit) -> Self {
        let (mut columns, mut relations, mut columns_of) = (Spellings::default(), Spellings::default(), HashMap::new());
        for (name, schema) in tables {
            let mut own = Spellings::default();
            own.add_fields(schema.fields());
            columns.add_fields(schema.fields());
            relations.add(name.namespace());
            relations.add(name.name());
            columns_of.insert(name.name().to_lowercase(), own);
        }
        _ = visit_expressions(statement, |expression| {
            match expression {
                Expr::Identifier(name) if name.quote_style.is_some() => columns.add(&name.value),
                Expr::CompoundIdentifier(names) => {
                    names.iter().filter(|name| name.quote_style.is_some()).for_each(|name| columns.add(&name.value));
                }
                _ => {}
            }
            ControlFlow::<()>::Continue(())
        });
        Self { tables, columns, relations, columns_of, selects: Vec::new(), common: BTreeSet::new() }
    }

    fn spell(&mut self, part: &mut impl VisitMut) -> Result<(), String> {
        match part.visit(self) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(problem) => Err(problem),
        }
    }

    /// A column's name. The innermost SELECT whose tables have it decides.
    fn column(&self, name: &mut Ident) -> ControlFlow<String> {
        let known = self.selects.iter().rev().find_map(|columns| columns.of(&name.value));
        give(name, known.or_else(|| self.columns.of(&name.value)))
    }

    fn object(&self, name: &mut ObjectName) -> ControlFlow<String> {
        let parts = name.0.len();
        for (index, part) in name.0.iter_mut().enumerate() {
            let ObjectNamePart::Identifier(part) = part else { continue };
            if index + 1 == parts { self.column(part)? } else { self.relation(part)? }
        }
        ControlFlow::Continue(())
    }

    fn relation(&self, name: &mut Ident) -> ControlFlow<String> {
        give(name, self.relations.of(&name.value))
    }

    /// `table.column`, `column.field` and longer ones.
    fn compound(&self, names: &mut [Ident]) -> ControlFlow<String> {
        let qualifiers = names.iter().take(names.len() - 1);
        let qualifiers = qualifiers.take_while(|name| self.relations.of(&name.value).is_some()).count();
        let (relations, columns) = names.split_at_mut(qualifiers);
        let own = relations.last().and_then(|relation| self.columns_of.get(&relation.value.to_lowercase()));
        relations.iter_mut().try_for_each(|name| self.relation(name))?;
        columns.iter_mut().try_for_each(|name| match own.and_then(|own| own.of(&name.value)) {
            Some(known) => give(name, Some(known)),
            None => self.column(name),
        })
    }

    fn alias(&mut self, alias: &mut TableAlias) -> ControlFlow<String> {
        alias.columns.iter_mut().try_for_each(|column| self.column(&mut column.name))
    }

    /// Before a SELECT's own expressions: what its FROM calls tables, and their columns.
    fn enter(&mut self, from: &mut [TableWithJoins]) -> ControlFlow<String> {
        let mut scope = Spellings::default();
        from.iter_mut().try_for_each(|tables| self.enter_tables(tables, &mut scope))?;
        self.selects.push(scope);
        from.iter_mut().try_for_each(|tables| self.join_columns(tables))
    }

    fn enter_tables(&mut self, tables: &mut TableWithJoins, scope: &mut Spellings) -> ControlFlow<String> {
        self.enter_factor(&mut tables.relation, scope)?;
        tables.joins.iter_mut().try_for_each(|join| self.enter_factor(&mut join.relation, scope))
    }

    /// `USING (column, …)`.
    fn join_columns(&mut self, tables: &mut TableWithJoins) -> ControlFlow<String> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = &mut tables.relation {
            self.join_columns(table_with_joins)?;
        }
        for join in &mut tables.joins {
            if let TableFactor::NestedJoin { table_with_joins, .. } = &mut join.relation {
                self.join_columns(table_with_joins)?;
            }
            if let Some(JoinConstraint::Using(columns)) = constraint(&mut join.join_operator) {
                columns.iter_mut().try_for_each(|column| self.object(column))?;
            }
        }
        ControlFlow::Continue(())
    }

    fn enter_factor(&mut self, factor: &mut TableFactor, scope: &mut Spellings) -> ControlFlow<String> {
        let mut own = Spellings::default();
        let alias = match factor {
            TableFactor::Table { name, alias, .. } => {
                if let Some(schema) = self.table(name)? {
                    own.add_fields(schema.fields());
                }
                alias
            }
            TableFactor::NestedJoin { table_with_joins, .. } => return self.enter_tables(table_with_joins, scope),
            TableFactor::Derived { subquery, alias, .. } => {
                subquery.visit(self)?;
                output_names(subquery).iter().for_each(|name| own.add(name));
                alias
            }
            TableFactor::UNNEST { alias, .. } => alias,
            _ => return ControlFlow::Continue(()),
        };
        if let Some(alias) = alias {
            self.alias(alias)?;
            alias.columns.iter().for_each(|column| own.add(&normalized(&column.name)));
            let name = normalized(&alias.name);
            self.relations.add(&name);
            self.columns_of.insert(name.to_lowercase(), own.clone());
        }
        own.0.into_values().flatten().for_each(|name| scope.add(&name));
        ControlFlow::Continue(())
    }

    /// The table that a name means, and its columns; the name gets its spelling.
    fn table(&self, name: &mut ObjectName) -> ControlFlow<String, Option<SchemaRef>> {
        let is_alike = |ident: &Ident, known: &str| match ident.quote_style {
            Some(_) => ident.value == known,
            None => ident.value.to_lowercase() == known.to_lowercase(),
        };
        let mut idents: Vec<&mut Ident> = name
            .0
            .iter_mut()
            .filter_map(|part| match part {
                ObjectNamePart::Identifier(ident) => Some(ident),
                ObjectNamePart::Function(_) => None,
            })
            .collect();
        let is_common = |table: &Ident| self.common.contains(&table.value.to_lowercase());
        let alike: Vec<_> = match idents.as_slice() {
            [table] if is_common(table) => Vec::new(),
            [table] => self.tables.iter().filter(|(known, _)| is_alike(table, known.name())).collect(),
            [namespace, table] => self
                .tables
                .iter()
                .filter(|(known, _)| is_alike(namespace, known.namespace()) && is_alike(table, known.name()))
                .collect(),
            _ => Vec::new(),
        };
        let written: Vec<String> = idents.iter().map(|ident| ident.value.clone()).collect();
        let exact = |known: &TableName| {
            written.last().is_some_and(|table| table == known.name())
                && (written.len() < 2 || written[0] == known.namespace())
        };
        let found = match alike.as_slice() {
            [] => return ControlFlow::Continue(None),
            [only] => *only,
            several => match several.iter().filter(|(known, _)| exact(known)).collect::<Vec<_>>().as_slice() {
                [only] => **only,
                _ => return ControlFlow::Continue(None),
            },
        };
        if let [namespace, _] = idents.as_mut_slice() {
            set(namespace, found.0.namespace());
        }
        if let Some(table) = idents.last_mut() {
            set(table, found.0.name());
        }
        ControlFlow::Continue(Some(found.1.clone()))
    }

    fn wildcard(&self, options: &mut WildcardAdditionalOptions) -> ControlFlow<String> {
        match &mut options.opt_exclude {
            Some(ExcludeSelectItem::Single(name)) => self.object(name)?,
            Some(ExcludeSelectItem::Multiple(names)) => names.iter_mut().try_for_each(|name| self.object(name))?,
            None => {}
        }
        if let Some(except) = &mut options.opt_except {
            self.column(&mut except.first_element)?;
            except.additional_elements.iter_mut().try_for_each(|name| self.column(name))?;
        }
        if let Some(replace) = &mut options.opt_replace {
            replace.items.iter_mut().try_for_each(|item| self.column(&mut item.column_name))?;
        }
        match &mut options.opt_rename {
            Some(RenameSelectItem::Single(name)) => self.column(&mut name.ident),
            Some(RenameSelectItem::Multiple(names)) => {
                names.iter_mut().try_for_each(|name| self.column(&mut name.ident))
            }
            None => ControlFlow::Continue(()),
        }
    }
}

/// The columns that a subquery gives by name.
fn output_names(query: &Query) -> Vec<String> {
    let SetExpr::Select(select) = query.body.as_ref() else { return Vec::new() };
    let name = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(normalized(alias)),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(normalized(name)),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => names.last().map(normalized),
        _ => None,
    };
    select.projection.iter().filter_map(name).collect()
}

/// A name as the planner takes it.
fn normalized(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_ascii_lowercase() }
}

fn constraint(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    use JoinOperator::{
        Anti, CrossJoin, FullOuter, Inner, Join, Left, LeftAnti, LeftOuter, LeftSemi, Right, RightAnti, RightOuter,
        RightSemi, Semi,
    };
    match operator {
        Join(of) | Inner(of) | Left(of) | LeftOuter(of) | Right(of) | RightOuter(of) | FullOuter(of)
        | CrossJoin(of) | Semi(of) | LeftSemi(of) | RightSemi(of) | Anti(of) | LeftAnti(of) | RightAnti(of) => Some(of),
        _ => None,
    }
}

/// Gives a name without quotes the one spelling that it may have.
fn give(name: &mut Ident, known: Option<&BTreeSet<String>>) -> ControlFlow<String> {
    let Some(known) = known.filter(|_| name.quote_style.is_none()) else { return ControlFlow::Continue(()) };
    match known.len() {
        1 => known.iter().for_each(|only| set(name, only)),
        _ if known.contains(&name.value) => {
            let written = name.value.clone();
            set(name, &written);
        }
        _ => {
            let names: Vec<_> = known.iter().map(|name| format!("\"{name}\"")).collect();
            return ControlFlow::Break(format!(
                "{} may mean {}: write the one in double quotes",
                name.value,
                names.join(" or ")
            ));
        }
    }
    ControlFlow::Continue(())
}

fn set(name: &mut Ident, spelling: &str) {
    spelling.clone_into(&mut name.value);
    name.quote_style = Some('"');
}

impl VisitorMut for Speller<'_> {
    type Break = String;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<String> {
        for common in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            self.alias(&mut common.alias)?;
            self.common.insert(common.alias.name.value.to_lowercase());
            self.relations.add(&common.alias.name.value.to_lowercase());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<String> {
        self.enter(&mut select.from)?;
        for item in &mut select.projection {
            match item {
                SelectItem::ExprWithAlias { alias, .. } => self.column(alias)?,
                SelectItem::ExprWithAliases { aliases, .. } => {
                    aliases.iter_mut().try_for_each(|alias| self.column(alias))?;
                }
                SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => self.wildcard(options)?,
                SelectItem::UnnamedExpr(_) => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &mut Select) -> ControlFlow<String> {
        self.selects.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &mut SqlStatement) -> ControlFlow<String> {
        let SqlStatement::Merge(merge) = statement else { return ControlFlow::Continue(()) };
        let mut scope = Spellings::default();
        self.enter_factor(&mut merge.table, &mut scope)?;
        let target = scope.clone();
        self.enter_factor(&mut merge.source, &mut scope)?;
        let of_target = |name: &mut ObjectName| match name.0.last_mut() {
            Some(ObjectNamePart::Identifier(column)) => give(column, target.of(&column.value)),
            _ => ControlFlow::Continue(()),
        };
        for clause in &mut merge.clauses {
            match &mut clause.action {
                MergeAction::Insert(insert) => insert.columns.iter_mut().try_for_each(of_target)?,
                MergeAction::Update(update) => {
                    for assignment in &mut update.assignments {
                        if let AssignmentTarget::ColumnName(name) = &mut assignment.target {
                            of_target(name)?;
                        }
                    }
                }
                MergeAction::Delete { .. } => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<String> {
        self.table(name).map_continue(|_| ())
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<String> {
        match expression {
            Expr::Identifier(name) => self.column(name),
            Expr::CompoundIdentifier(names) => self.compound(names),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema};

    use super::*;
    use crate::sql::statements;

    fn spelled(sql: &str) -> String {
        let text = |name: &str| Field::new(name, DataType::Utf8View, true);
        let nested = Field::new("Site", DataType::Struct(vec![text("roomNo")].into()), true);
        let one = Schema::new(vec![text("deviceId"), text("ts"), text("Value"), nested]);
        let two = Schema::new(vec![text("DeviceID"), text("a"), text("A"), text("bB"), text("Bb")]);
        let tables = [
            ("curated.Telemetry".parse().unwrap(), Arc::new(one)),
            ("curated.devices".parse().unwrap(), Arc::new(two)),
        ];
        let mut statement = statements(sql).unwrap().pop_front().unwrap();
        match spell(&mut statement, &tables) {
            Ok(()) => statement.to_string(),
            Err(problem) => problem,
        }
    }

    #[test]
    fn names_get_the_spelling_of_their_table() {
        assert_eq!(
            spelled(
                "SELECT deviceid, TS AS seen, t.VALUE, site.roomno, max(DEVICEID) FROM curated.telemetry AS T WHERE t.deviceId = 'x' GROUP BY DeviceId ORDER BY SEEN"
            ),
            r#"SELECT "deviceId", "ts" AS seen, "t"."Value", "Site"."roomNo", max("deviceId") FROM "curated"."Telemetry" AS T WHERE "t"."deviceId" = 'x' GROUP BY "deviceId" ORDER BY SEEN"#
        );
        assert_eq!(
            spelled(
                "SELECT deviceid FROM devices WHERE EXISTS (SELECT 1 FROM telemetry WHERE deviceid = devices.deviceid)"
            ),
            r#"SELECT "DeviceID" FROM "devices" WHERE EXISTS (SELECT 1 FROM "Telemetry" WHERE "deviceId" = "devices"."DeviceID")"#
        );
        assert_eq!(
            spelled("WITH telemetry AS (SELECT 1 AS x) SELECT X FROM Telemetry JOIN devices USING (deviceid)"),
            r#"WITH telemetry AS (SELECT 1 AS x) SELECT X FROM Telemetry JOIN "devices" USING("DeviceID")"#
        );
        assert_eq!(
            spelled("SELECT max(ts) AS VALUE, \"deviceId\", now(), 'deviceid' FROM telemetry ORDER BY value"),
            r#"SELECT max("ts") AS "Value", "deviceId", now(), 'deviceid' FROM "Telemetry" ORDER BY "Value""#
        );
        assert_eq!(spelled("SELECT * EXCEPT (VALUE) FROM telemetry"), r#"SELECT * EXCEPT ("Value") FROM "Telemetry""#);
        assert_eq!(spelled("EXPLAIN SELECT VALUE FROM telemetry"), r#"EXPLAIN SELECT "Value" FROM "Telemetry""#);
    }

    #[test]
    fn a_name_of_several_columns_is_the_one_that_is_spelled_so_or_refused() {
        assert_eq!(spelled("SELECT a, A FROM devices"), r#"SELECT "a", "A" FROM "devices""#);
        assert_eq!(spelled("SELECT bb FROM devices"), r#"bb may mean "Bb" or "bB": write the one in double quotes"#);
        assert_eq!(
            spelled("SELECT deviceid FROM telemetry, devices"),
            r#"deviceid may mean "DeviceID" or "deviceId": write the one in double quotes"#
        );
        assert_eq!(
            spelled("SELECT telemetry.deviceid FROM telemetry, devices"),
            r#"SELECT "Telemetry"."deviceId" FROM "Telemetry", "devices""#
        );
    }

    #[test]
    fn names_in_a_merge_are_spelled_too() {
        assert_eq!(
            spelled(
                "MERGE INTO CURATED.telemetry AS t USING (SELECT DEVICEID, A FROM devices) AS S ON t.deviceid = s.DeviceID WHEN MATCHED THEN UPDATE SET VALUE = s.A, t.Ts = t.ts WHEN NOT MATCHED THEN INSERT (DEVICEID, ts) VALUES (s.deviceid, s.a)"
            ),
            r#"MERGE INTO "curated"."Telemetry" AS t USING (SELECT "DeviceID", "A" FROM "devices") AS S ON "t"."deviceId" = "s"."DeviceID" WHEN MATCHED THEN UPDATE SET "Value" = "s"."A", t."ts" = "t"."ts" WHEN NOT MATCHED THEN INSERT ("deviceId", "ts") VALUES ("s"."DeviceID", "s"."A")"#
        );
    }
}
