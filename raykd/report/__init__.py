"""What a person reads of a finished or unfinished run or study: its page, its pictures, and the student's card."""
