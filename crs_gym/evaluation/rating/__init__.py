"""People judge dialogues (ICER, section 5.1 and appendix A.4): forms, answers, page, report."""
