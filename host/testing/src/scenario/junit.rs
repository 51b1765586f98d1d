//! The report for continuous integration.

use anyhow::Result;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::report::{FileReport, Style};

/// The reports as JUnit XML: a suite for each file, a test case for each case.
///
/// # Errors
/// When the XML cannot be written.
pub fn junit(reports: &[FileReport]) -> Result<String> {
    let mut all = Report::new("parlance test");
    for report in reports {
        let mut suite = TestSuite::new(report.file.display().to_string());
        for case in &report.cases {
            let status = if case.is_ok() {
                TestCaseStatus::success()
            } else {
                let mut failure = TestCaseStatus::non_success(NonSuccessKind::Failure);
                failure.set_message(format!("{} differences", case.differences.len() + case.further));
                failure.set_description(report.render_case(case, Style::Plain));
                failure
            };
            let mut test = TestCase::new(&case.name, status);
            test.set_time(case.took);
            test.set_classname(report.file.display().to_string());
            suite.add_test_case(test);
        }
        if let Some(problem) = &report.problem {
            let mut error = TestCaseStatus::non_success(NonSuccessKind::Error);
            error.set_message(problem.to_string());
            suite.add_test_case(TestCase::new("the file", error));
        }
        all.add_test_suite(suite);
    }
    Ok(all.to_string()?)
}
