"""What a reconstruction is judged by: the error of its pixels, their likelihood, features that it shares, a critic."""
