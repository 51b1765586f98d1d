//! One source file: its types are stripped and its async functions become generators.
//!
//! The runtime never runs QuickJS's own queue of jobs during an event, so nothing may depend on the engine's promises.
//! The output calls `babelHelpers` (`kit/async.js`) for async functions, and the kit replaces `Promise`.

use std::path::Path;

use oxc_allocator::Allocator;
use oxc_ast::AstKind;
use oxc_ast::ast::{Expression, ImportDeclarationSpecifier, ModuleExportName, Program, Statement};
use oxc_codegen::{Codegen, CodegenOptions, CommentOptions};
use oxc_diagnostics::OxcDiagnostic;
use oxc_ecmascript::BoundNames;
use oxc_parser::Parser;
use oxc_semantic::{Semantic, SemanticBuilder};
use oxc_span::{SourceType, Span};
use oxc_transformer::{HelperLoaderMode, TransformOptions, Transformer};

use crate::problem::{Problem, Problems};

/// A source file that QuickJS can run.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// The source as its author wrote it.
    pub(crate) source: String,
    pub(crate) code: String,
    /// For each line of `code` the line of the source.
    pub(crate) lines: Vec<u32>,
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Vec<Export>,
    /// The bytes at which a value is thrown that is evidently not an Error.
    pub(crate) bare_throws: Vec<u32>,
}

/// A file or package that a module imports.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) specifier: String,
    /// The byte at which the specifier stands.
    pub(crate) offset: u32,
    /// Whether all exports of the imported module are exported again.
    pub(crate) is_star_export: bool,
    /// The names that are imported one by one.
    pub(crate) names: Vec<Export>,
}

/// A name that a module exports, or imports.
#[derive(Debug, Clone)]
pub(crate) struct Export {
    pub(crate) name: String,
    /// The byte at which the name stands.
    pub(crate) offset: u32,
}

/// Transforms the source of a file. `file` is its name in messages.
pub(crate) fn transform(file: &str, source: String) -> Result<Module, Problems> {
    let path = Path::new(file);
    let source_type = source_type(path)?;
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, &source, source_type).parse();
    check(file, &source, parsed.diagnostics.errors())?;
    refuse_absent(file, &source, &parsed.module_record)?;
    let mut program = parsed.program;
    let semantic = SemanticBuilder::new()
        .with_build_nodes(true)
        .with_check_syntax_error(true)
        .with_enum_eval(true)
        .build(&program);
    check(file, &source, semantic.diagnostics.errors())?;
    let bare_throws = bare_throws(&semantic.semantic);
    let transformed = Transformer::new(&allocator, path, &options())
        .build_with_scoping(semantic.semantic.into_scoping(), &mut program);
    check(file, &source, transformed.diagnostics.errors())?;

    let (imports, exports) = interface_of(&program);
    let printed = Codegen::new()
        .with_options(CodegenOptions {
            comments: CommentOptions::disabled(),
            source_map_path: Some(path.to_path_buf()),
            ..CodegenOptions::default()
        })
        .build(&program);
    let tokens = printed.map.iter().flat_map(|map| map.get_tokens());
    let lines = line_table(tokens.map(|token| (token.get_dst_line(), token.get_src_line())));
    let code = printed.code;
    drop(allocator);
    Ok(Module {
        source,
        code,
        lines,
        imports,
        exports,
        bare_throws,
    })
}

/// The bytes at which a text, a number or an object literal is thrown, none of which has a stack.
fn bare_throws(semantic: &Semantic<'_>) -> Vec<u32> {
    let thrown = semantic.nodes().iter().filter_map(|node| match node.kind() {
        AstKind::ThrowStatement(throw) => Some(throw),
        _ => None,
    });
    let is_bare = |expression: &Expression<'_>| {
        matches!(
            expression,
            Expression::StringLiteral(_)
                | Expression::TemplateLiteral(_)
                | Expression::NumericLiteral(_)
                | Expression::ObjectExpression(_)
        )
    };
    thrown
        .filter(|throw| is_bare(&throw.argument))
        .map(|throw| throw.span.start)
        .collect()
}

/// Types and async functions are transformed, nothing else: QuickJS knows the rest of the language.
fn options() -> TransformOptions {
    let mut options = TransformOptions::default();
    options.helper_loader.mode = HelperLoaderMode::External;
    options.env.es2017.async_to_generator = true;
    options.env.es2018.async_generator_functions = true;
    options
}

fn source_type(path: &Path) -> Result<SourceType, Problem> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("js" | "mjs") => Ok(SourceType::mjs()),
        Some("ts" | "mts") => Ok(SourceType::ts()),
        _ => Err(
            Problem::of_file(&path.to_string_lossy(), "the file is neither JavaScript nor TypeScript")
                .help("use the extension .js, .mjs, .ts or .mts"),
        ),
    }
}

/// Fails with the errors, if there are any.
fn check<'a>(file: &str, source: &str, errors: impl Iterator<Item = &'a OxcDiagnostic>) -> Result<(), Problems> {
    let problems: Vec<_> = errors
        .map(|error| {
            let offset = error.labels.first().map_or(0, |label| label.offset());
            let problem = Problem::at(file, source, offset, error.message.to_string());
            match &error.help {
                Some(help) => problem.help(help.to_string()),
                None => problem,
            }
        })
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Problems(problems))
    }
}

/// Refuses what no handler has: modules that are loaded later, and a place from which the module came.
fn refuse_absent(
    file: &str,
    source: &str,
    record: &oxc_syntax::module_record::ModuleRecord<'_>,
) -> Result<(), Problem> {
    if let Some(import) = record.dynamic_imports.first() {
        return Err(Problem::at(
            file,
            source,
            import.span.start,
            "import() cannot load a module during an event",
        )
        .help("write `import … from '…'` at the top of the file"));
    }
    if let Some(span) = record.import_metas.first() {
        return Err(Problem::at(
            file,
            source,
            span.start,
            "import.meta says nothing in a handler, whose sources are part of its component",
        ));
    }
    Ok(())
}

/// The imports and exports of a module whose types are stripped already.
fn interface_of(program: &Program<'_>) -> (Vec<Import>, Vec<Export>) {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let import = |source: &oxc_ast::ast::StringLiteral<'_>, is_star_export, names| Import {
        specifier: source.value.to_string(),
        offset: source.span.start,
        is_star_export,
        names,
    };
    let name = |name: &ModuleExportName<'_>| Export {
        name: name.name().to_string(),
        offset: span_of(name).start,
    };
    let mut export = |name: &str, span: Span| {
        exports.push(Export {
            name: name.to_owned(),
            offset: span.start,
        });
    };
    for statement in &program.body {
        match statement {
            Statement::ImportDeclaration(declaration) => {
                let specifiers = declaration.specifiers.iter().flatten();
                let names = specifiers.filter_map(|specifier| match specifier {
                    ImportDeclarationSpecifier::ImportSpecifier(specifier) => Some(name(&specifier.imported)),
                    _ => None,
                });
                imports.push(import(&declaration.source, false, names.collect()));
            }
            Statement::ExportAllDeclaration(declaration) => {
                if let Some(name) = &declaration.exported {
                    export(&name.name(), declaration.span);
                }
                imports.push(import(&declaration.source, declaration.exported.is_none(), Vec::new()));
            }
            Statement::ExportFromDeclaration(declaration) => {
                for specifier in &declaration.specifiers {
                    export(&specifier.exported.name(), span_of(&specifier.exported));
                }
                let names = declaration.specifiers.iter().map(|specifier| name(&specifier.local));
                imports.push(import(&declaration.source, false, names.collect()));
            }
            Statement::ExportNamedDeclaration(declaration) => {
                for specifier in &declaration.specifiers {
                    export(&specifier.exported.name(), span_of(&specifier.exported));
                }
            }
            Statement::ExportDeclaration(declaration) => {
                declaration
                    .declaration
                    .bound_names(&mut |identifier| export(&identifier.name, identifier.span));
            }
            Statement::ExportDefaultDeclaration(declaration) => export("default", declaration.span),
            _ => {}
        }
    }
    (imports, exports)
}

fn span_of(name: &ModuleExportName<'_>) -> Span {
    match name {
        ModuleExportName::IdentifierName(name) => name.span,
        ModuleExportName::IdentifierReference(name) => name.span,
        ModuleExportName::StringLiteral(name) => name.span,
    }
}

/// For each line of the output the line of the source of what begins first there.
fn line_table(tokens: impl Iterator<Item = (u32, u32)>) -> Vec<u32> {
    let mut lines = Vec::new();
    for (output_line, source_line) in tokens {
        let line = usize::try_from(output_line).unwrap_or(0);
        if lines.len() <= line {
            let last = lines.last().copied().unwrap_or(1);
            lines.resize(line, last);
            lines.push(source_line + 1);
        }
    }
    lines
}
