"""What R2T2's attackers and defenders share: the vectors that they follow, and their options."""
